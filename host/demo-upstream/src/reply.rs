//! Decides what is answered: text, reasoning, tool calls, the reason to end, and what it all counts to. A pure function of the
//! request; `serial` makes ids unique and changes nothing else.

use serde_json::json;

use crate::ask::{Ask, Choice, Format, Input, Thinking};
use crate::behaviour::Behaviour;
use crate::{arguments, schema, tokens};

#[derive(Debug)]
pub struct Reply {
    pub choices: Vec<Answer>,
    pub usage: Usage,
}

#[derive(Debug)]
pub struct Answer {
    pub thinking: Option<String>,
    pub text: Option<String>,
    pub calls: Vec<Call>,
    pub finish: Finish,
}

#[derive(Debug)]
pub struct Call {
    pub id: String,
    pub name: String,
    /// JSON, or free text where `custom`.
    pub arguments: String,
    pub custom: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Finish {
    Stop,
    StopSequence(String),
    Length,
    Tools,
}

#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub input: Input,
    /// Reasoning included.
    pub output: u64,
    pub reasoning: u64,
}

/// Reasoning tokens that are counted and never shown.
const HIDDEN_REASONING: u64 = 64;
/// What a tool call costs beside its name and arguments.
const CALL_TOKENS: u64 = 3;

/// Composes the answer.
pub fn compose(ask: &Ask, behaviour: Behaviour, serial: u64) -> Reply {
    let calls = calls(ask, behaviour, serial);
    let thinking = match ask.thinking {
        Thinking::Shown => Some(true),
        _ if behaviour == Behaviour::Think => Some(true),
        Thinking::Hidden => Some(false),
        Thinking::Off => None,
    };
    let mut usage = Usage { input: ask.input, output: 0, reasoning: 0 };
    let mut choices = Vec::with_capacity(ask.count);
    for index in 0..ask.count.max(1) {
        let mut budget = Budget { left: ask.limit, spent: 0 };
        let shown = match thinking {
            Some(true) => Some(budget.text(&reasoning(ask))),
            Some(false) => {
                budget.spend(HIDDEN_REASONING);
                None
            }
            None => None,
        };
        usage.reasoning += budget.spent;
        let answer = if calls.is_empty() {
            spoken(ask, text(ask, behaviour, index), shown, &mut budget)
        } else {
            called(&calls, index, shown, &mut budget)
        };
        usage.output += budget.spent;
        choices.push(answer);
    }
    Reply { choices, usage }
}

/// What remains of the token limit.
struct Budget {
    left: Option<u64>,
    spent: u64,
}

impl Budget {
    fn spend(&mut self, tokens: u64) {
        let tokens = self.left.map_or(tokens, |left| left.min(tokens));
        self.left = self.left.map(|left| left - tokens);
        self.spent += tokens;
    }

    /// As much of the text as the limit lets through.
    fn text(&mut self, text: &str) -> String {
        let kept = self.left.map_or(text, |left| tokens::truncate(text, left));
        self.spend(tokens::count(kept));
        kept.to_owned()
    }
}

fn spoken(ask: &Ask, text: String, thinking: Option<String>, budget: &mut Budget) -> Answer {
    let stop = ask
        .stop
        .iter()
        .filter(|stop| !stop.is_empty())
        .filter_map(|stop| Some((text.find(stop.as_str())?, stop)))
        .min_by_key(|(at, _)| *at);
    let wanted = stop.map_or(text.as_str(), |(at, _)| &text[..at]);
    let kept = budget.text(wanted);
    let finish = match stop {
        _ if kept.len() < wanted.len() => Finish::Length,
        Some((_, stop)) => Finish::StopSequence(stop.clone()),
        None => Finish::Stop,
    };
    Answer { thinking, text: Some(kept), calls: Vec::new(), finish }
}

fn called(calls: &[Call], choice: usize, thinking: Option<String>, budget: &mut Budget) -> Answer {
    let mut finish = Finish::Tools;
    let mut kept = Vec::with_capacity(calls.len());
    for call in calls {
        budget.spend(CALL_TOKENS + tokens::count(&call.name));
        let arguments = budget.text(&call.arguments);
        if arguments.len() < call.arguments.len() {
            finish = Finish::Length;
        }
        let id = if choice == 0 { call.id.clone() } else { format!("{}c{choice}", call.id) };
        kept.push(Call { id, name: call.name.clone(), arguments, custom: call.custom });
    }
    Answer { thinking, text: None, calls: kept, finish }
}

/// Which tools to call. A conversation that ends with results is answered in words, or it would never end.
fn calls(ask: &Ask, behaviour: Behaviour, serial: u64) -> Vec<Call> {
    let forced = matches!(ask.choice, Choice::Required | Choice::Named(_));
    let wanted = forced || (behaviour == Behaviour::Tool && ask.results.is_empty());
    if !wanted || ask.choice == Choice::None {
        return Vec::new();
    }
    let prompt = ask.prompt.to_lowercase();
    let several = ask.parallel && ["tools", "both", "parallel"].iter().any(|word| prompt.contains(word));
    let picked: Vec<_> = match &ask.choice {
        Choice::Named(name) => ask.tools.iter().filter(|tool| tool.name == *name).take(1).collect(),
        _ => ask.tools.iter().take(if several { 8 } else { 1 }).collect(),
    };
    picked
        .into_iter()
        .enumerate()
        .map(|(index, tool)| Call {
            id: format!("demo{serial:012x}{index}"),
            name: tool.name.clone(),
            arguments: arguments::of(tool, &ask.prompt),
            custom: tool.schema.is_none(),
        })
        .collect()
}

fn reasoning(ask: &Ask) -> String {
    format!(
        "The user wants an answer to \"{}\". I am a demo, so I settle for saying what I was asked.",
        excerpt(&ask.prompt)
    )
}

fn text(ask: &Ask, behaviour: Behaviour, choice: usize) -> String {
    let plain = match behaviour {
        Behaviour::Echo => return ask.prompt.clone(),
        Behaviour::Long(tokens) => return long(tokens),
        Behaviour::Burst(tokens) => return (1..=tokens).map(|_| " token").collect(),
        _ => chat(ask, behaviour),
    };
    match &ask.format {
        Format::Text if choice == 0 => plain,
        Format::Text => format!("{plain} (Answer {}.)", choice + 1),
        Format::Object => json!({ "answer": plain }).to_string(),
        Format::Schema(schema) => schema::example(schema, "answer").to_string(),
    }
}

fn chat(ask: &Ask, behaviour: Behaviour) -> String {
    let mut said = Vec::new();
    for result in &ask.results {
        said.push(format!("The tool answered: {}", excerpt(&result.text)));
        if result.images > 0 {
            said.push(format!("It sent {}.", number(result.images, "image")));
        }
    }
    if !said.is_empty() {
        return said.join("\n");
    }
    if let Some(numbers) = counting(&ask.prompt) {
        return numbers;
    }
    if behaviour == Behaviour::Tool {
        said.push("I would call a tool, but none was offered.".to_owned());
    }
    let asked = excerpt(&ask.prompt);
    said.push(match asked.as_str() {
        "" => "Hello! You have not asked anything yet.".to_owned(),
        _ if is_greeting(&ask.prompt) => "Hello! It is good to hear from you. What shall we talk about?".to_owned(),
        _ => format!("You asked: \"{asked}\" A fine question."),
    });
    if ask.images > 0 {
        said.push(format!("I received {}.", number(ask.images, "image")));
    }
    if ask.documents > 0 {
        said.push(format!("I received {}.", number(ask.documents, "document")));
    }
    said.push(
        "I am the demo model: no neural network was troubled, but every byte of this answer came over HTTP, \
         token by token, as a real provider would send it."
            .to_owned(),
    );
    said.join(" ")
}

fn is_greeting(prompt: &str) -> bool {
    let first = prompt.split(|c: char| !c.is_alphabetic()).find(|word| !word.is_empty()).unwrap_or_default();
    ["hello", "hi", "hey"].contains(&first.to_lowercase().as_str()) && prompt.split_whitespace().count() <= 4
}

/// "Count to 5" is answered with the numbers.
fn counting(prompt: &str) -> Option<String> {
    let lower = prompt.to_lowercase();
    let (_, rest) = lower.split_once("count to ")?;
    let last: u32 = rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some((1..=last.min(1000)).map(|n| n.to_string()).collect::<Vec<_>>().join(", "))
}

fn long(tokens: u64) -> String {
    const WORDS: [&str; 12] =
        ["The", " gate", " stands", " open", " and", " the", " river", " runs", " past", " it", " all", " day."];
    // Counted, since " day." is two tokens.
    let mut text = String::new();
    let mut counted = 0;
    for index in 0.. {
        let word = if index > 0 && index % WORDS.len() == 0 { " The" } else { WORDS[index % WORDS.len()] };
        if counted >= tokens {
            break;
        }
        let piece = tokens::truncate(word, tokens - counted);
        counted += tokens::count(piece);
        text.push_str(piece);
    }
    text
}

/// The beginning of a text, on one line.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn number(count: usize, what: &str) -> String {
    if count == 1 { format!("one {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::{Tool, ToolResult};

    fn ask(prompt: &str) -> Ask {
        Ask { prompt: prompt.into(), count: 1, parallel: true, ..Ask::default() }
    }

    fn one(ask: &Ask, behaviour: Behaviour) -> (Answer, Usage) {
        let mut reply = compose(ask, behaviour, 7);
        (reply.choices.remove(0), reply.usage)
    }

    #[test]
    fn length_and_stop() {
        let mut short = ask("count to 5");
        short.limit = Some(3);
        let (answer, usage) = one(&short, Behaviour::Chat);
        assert_eq!((answer.text.as_deref(), answer.finish, usage.output), (Some("1, 2"), Finish::Length, 3));
        let mut stopped = ask("count to 5");
        stopped.stop = vec!["9".into(), " 4".into()];
        let (answer, _) = one(&stopped, Behaviour::Chat);
        assert_eq!((answer.text.as_deref(), answer.finish), (Some("1, 2, 3,"), Finish::StopSequence(" 4".into())));
    }

    #[test]
    fn exact_lengths() {
        for tokens in [0, 1, 11, 12, 13, 14, 500] {
            assert_eq!(tokens::count(&long(tokens)), tokens);
            assert_eq!(one(&ask(""), Behaviour::Burst(tokens)).1.output, tokens);
        }
    }

    #[test]
    fn tools_by_choice() {
        let tool = |name: &str| Tool { name: name.into(), schema: Some(json!({"type": "object"})) };
        let names = |ask: &Ask, behaviour| {
            one(ask, behaviour).0.calls.into_iter().map(|call| call.name).collect::<Vec<_>>().join(" ")
        };
        let mut asked = ask("call the tools");
        asked.tools = vec![tool("a"), tool("b")];
        assert_eq!(names(&asked, Behaviour::Tool), "a b");
        asked.parallel = false;
        assert_eq!(names(&asked, Behaviour::Tool), "a");
        asked.choice = Choice::Named("b".into());
        assert_eq!(names(&asked, Behaviour::Chat), "b");
        asked.choice = Choice::None;
        assert_eq!(names(&asked, Behaviour::Tool), "");
        asked.choice = Choice::Auto;
        asked.results = vec![ToolResult { text: "42".into(), images: 2 }];
        let (answer, _) = one(&asked, Behaviour::Tool);
        assert_eq!(answer.text.as_deref(), Some("The tool answered: 42\nIt sent 2 images."));
    }
}
