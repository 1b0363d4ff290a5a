//! How much to think, said as each vendor's models want it.
//!
//! - Claude: `thinking` among the additional fields, with a budget (up to 4.6) or adaptive (from 4.6 on), and the effort in
//!   `outputConfig.effort` (<https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html>,
//!   service model). A budget is at least 1,024 tokens and less than the output cap, and no tool is forced while thinking: the API
//!   refuses both.
//! - Nova 2: `reasoningConfig` with `maxReasoningEffort`; at `high` it takes neither an output cap nor sampling
//!   (<https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html>), so with a cap `medium` is the most.
//! - gpt-oss: `reasoning_effort`; Qwen 3: `reasoning_config` (recordings).

use portcullis_plugin::ir::{ReasoningSettings, Request, ToolChoice};

use crate::FORMAT;
use crate::catalogue::{Off, Traits};
use crate::family::Family;
use portcullis_plugin::notes::Notes;

const LEAST: u32 = 1024;
/// What each effort may think, in tokens: Claude's own advice is from 1,024 up, beyond 32,000 in batches only.
const BUDGETS: &[(&str, u32)] =
    &[("minimal", 1024), ("low", 2048), ("medium", 8192), ("high", 16_384), ("xhigh", 24_576), ("max", 32_000)];

/// What a request says of thinking.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// `outputConfig.effort`.
    pub effort: Option<String>,
    /// A member of the additional fields, and its JSON.
    pub field: Option<(&'static str, String)>,
    pub thinks: bool,
    /// Sampling and the output cap cannot be said.
    pub bare: bool,
    /// The forced choice of a tool becomes the model's own.
    pub unforced: bool,
}

/// Decides on thinking. `cap` is the output cap that will be sent, 0 where there is none.
pub fn plan(request: &Request, family: Family, traits: &Traits, cap: u32, notes: &mut Notes) -> Plan {
    // A client of this protocol says it in the additional fields.
    if request.format == FORMAT {
        return Plan::default();
    }
    let forced = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Function(_)));
    let wish = request.reasoning.as_ref();
    match family {
        Family::Claude => claude(wish, traits, cap, forced, notes),
        Family::Nova2 => nova(wish, cap, notes),
        Family::GptOss => gpt_oss(wish, notes),
        Family::Qwen => qwen(wish, notes),
        Family::Nova | Family::Mistral | Family::Other => {
            if wish.is_some_and(|wish| !is_off(wish)) {
                notes.dropped("reasoning");
            }
            Plan::default()
        }
    }
}

fn is_off(wish: &ReasoningSettings) -> bool {
    wish.enabled == Some(false) || wish.effort.as_deref() == Some("none")
}

/// The word for a budget: the highest that may think no more.
fn word(budget: u32) -> &'static str {
    BUDGETS.iter().rev().find(|(_, least)| *least <= budget).map_or("low", |(word, _)| word)
}

/// The effort a wish comes to, by word or by budget.
fn effort(wish: &ReasoningSettings) -> &str {
    match (&wish.effort, wish.budget) {
        (Some(effort), _) => effort,
        (None, Some(budget)) => word(budget),
        (None, None) => "medium",
    }
}

// --- Claude ------------------------------------------------------------------------------------------------------------

fn claude(wish: Option<&ReasoningSettings>, traits: &Traits, cap: u32, forced: bool, notes: &mut Notes) -> Plan {
    let mut plan = Plan::default();
    if let Some(wish) = wish {
        settle(&mut plan, wish, traits, cap, notes);
    }
    if forced && !traits.forced_tools {
        plan.unforced = true;
        notes.approximated("tool_choice");
    } else if forced && (plan.thinks || traits.unasked) {
        // The call is a demand, thinking a wish.
        if plan.thinks {
            notes.dropped("reasoning");
        }
        plan.thinks = false;
        plan.field = off(traits);
    }
    // "When extended thinking is disabled, the effort level is capped at high."
    let disabled = plan.field.as_ref().is_some_and(|(_, value)| value == DISABLED);
    if disabled && plan.effort.as_deref().is_some_and(|effort| matches!(effort, "xhigh" | "max")) {
        plan.effort = Some("high".to_owned());
        notes.approximated("reasoning.effort");
    }
    plan
}

const DISABLED: &str = r#"{"type":"disabled"}"#;

/// How a model is told not to think.
fn off(traits: &Traits) -> Option<(&'static str, String)> {
    match traits.off {
        Off::Silence | Off::Never => None,
        Off::Disabled => Some(("thinking", DISABLED.to_owned())),
        Off::BetweenTools => Some(("thinking", r#"{"type":"between_tools"}"#.to_owned())),
    }
}

fn settle(plan: &mut Plan, wish: &ReasoningSettings, traits: &Traits, cap: u32, notes: &mut Notes) {
    if is_off(wish) {
        plan.field = off(traits);
        if traits.off == Off::Never {
            plan.effort = traits.efforts.first().cloned();
            notes.approximated("reasoning");
        }
        return;
    }
    if wish.enabled.is_none() && wish.budget.is_none() && wish.effort.is_none() {
        return;
    }
    let display = match wish.summary.as_deref() {
        None => "",
        Some("omitted") => r#","display":"omitted""#,
        Some(_) => r#","display":"summarized""#,
    };
    let enabled = |budget: u32| format!(r#"{{"type":"enabled","budget_tokens":{budget}}}"#);
    let thinking = match wish.budget {
        Some(budget) if traits.budget => fit_budget(budget, cap, notes).map(enabled),
        budget if traits.adaptive => {
            if budget.is_some() {
                notes.approximated("thinking.budget_tokens");
            }
            Some(format!(r#"{{"type":"adaptive"{display}}}"#))
        }
        _ if traits.budget => derived_budget(effort(wish), cap, notes).map(enabled),
        _ => {
            notes.dropped("reasoning");
            None
        }
    };
    plan.thinks = thinking.is_some();
    plan.field = thinking.map(|thinking| ("thinking", thinking));
    // Where there are no efforts the budget says it.
    if !traits.efforts.is_empty() && (wish.effort.is_some() || wish.budget.is_some() && !traits.budget) {
        plan.effort = fit_effort(effort(wish), traits, notes);
    }
}

/// The model's own word: the highest it has that is not above what was asked, or its lowest.
fn fit_effort(effort: &str, traits: &Traits, notes: &mut Notes) -> Option<String> {
    if traits.efforts.iter().any(|known| known == effort) {
        return Some(effort.to_owned());
    }
    let rank = |word: &str| BUDGETS.iter().position(|(known, _)| *known == word);
    let Some(asked) = rank(effort) else {
        // A word of a provider we do not know says nothing here.
        notes.dropped("reasoning.effort");
        return None;
    };
    notes.approximated("reasoning.effort");
    traits.efforts.iter().rev().find(|word| rank(word) <= Some(asked)).or(traits.efforts.first()).cloned()
}

fn fit_budget(budget: u32, cap: u32, notes: &mut Notes) -> Option<u32> {
    if budget >= LEAST && (cap == 0 || budget < cap) {
        return Some(budget);
    }
    if cap != 0 && cap <= LEAST {
        notes.dropped("reasoning");
        return None;
    }
    notes.clamped("thinking.budget_tokens");
    Some(budget.max(LEAST).min(cap.wrapping_sub(1)))
}

/// A budget for an effort, which leaves a quarter of the cap for the answer.
fn derived_budget(effort: &str, cap: u32, notes: &mut Notes) -> Option<u32> {
    let budget = BUDGETS.iter().find(|(word, _)| *word == effort).map_or(8192, |(_, budget)| *budget);
    if cap == 0 {
        return Some(budget);
    }
    let most = cap / 4 * 3;
    if most < LEAST {
        notes.dropped("reasoning");
        return None;
    }
    Some(budget.min(most))
}

// --- others ------------------------------------------------------------------------------------------------------------

/// One of three words.
fn third(effort: &str, notes: &mut Notes) -> &'static str {
    let word = match effort {
        "minimal" | "low" => "low",
        "high" | "xhigh" | "max" => "high",
        _ => "medium",
    };
    if word != effort {
        notes.approximated("reasoning.effort");
    }
    word
}

fn nova(wish: Option<&ReasoningSettings>, cap: u32, notes: &mut Notes) -> Plan {
    // Thinking is off unless asked for.
    let Some(wish) = wish.filter(|wish| !is_off(wish)) else { return Plan::default() };
    let mut effort = third(effort(wish), notes);
    if effort == "high" && cap > 0 {
        notes.approximated("reasoning.effort");
        effort = "medium";
    }
    let config = format!(r#"{{"type":"enabled","maxReasoningEffort":"{effort}"}}"#);
    Plan { field: Some(("reasoningConfig", config)), thinks: true, bare: effort == "high", ..Plan::default() }
}

fn gpt_oss(wish: Option<&ReasoningSettings>, notes: &mut Notes) -> Plan {
    let Some(wish) = wish else { return Plan::default() };
    let effort = if is_off(wish) {
        // It always thinks; this is the least.
        notes.approximated("reasoning");
        "low"
    } else {
        third(effort(wish), notes)
    };
    Plan { field: Some(("reasoning_effort", format!("\"{effort}\""))), thinks: true, ..Plan::default() }
}

fn qwen(wish: Option<&ReasoningSettings>, notes: &mut Notes) -> Plan {
    let Some(wish) = wish.filter(|wish| !is_off(wish)) else { return Plan::default() };
    // The one word that is known to be taken.
    if effort(wish) != "high" {
        notes.approximated("reasoning.effort");
    }
    Plan { field: Some(("reasoning_config", "\"high\"".to_owned())), thinks: true, ..Plan::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::traits_of;

    fn planned(model: &str, settings: ReasoningSettings, cap: u32, choice: Option<ToolChoice>) -> (Plan, Vec<String>) {
        let mut request = Request::new("openai-chat", model);
        request.reasoning = Some(settings);
        request.tool_choice = choice;
        let mut notes = Notes::default();
        let plan = plan(&request, Family::of(model), &traits_of(model), cap, &mut notes);
        (plan, notes.into_vec().into_iter().map(|note| format!("{} {}", note.code, note.subject)).collect())
    }

    fn asked(effort: &str) -> ReasoningSettings {
        ReasoningSettings { effort: Some(effort.to_owned()), budget: None, enabled: None, summary: None }
    }

    fn field(plan: &Plan) -> String {
        plan.field.as_ref().map(|(name, value)| format!("{name}={value}")).unwrap_or_default()
    }

    #[test]
    fn efforts_by_model() {
        for (model, effort, expected, said) in [
            (
                "us.anthropic.claude-haiku-4-5-20251001-v1:0",
                "high",
                r#"thinking={"type":"enabled","budget_tokens":16384}"#,
                None,
            ),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "none", "", None),
            ("us.anthropic.claude-sonnet-4-6", "xhigh", r#"thinking={"type":"adaptive"}"#, Some("high")),
            ("global.anthropic.claude-opus-5", "minimal", r#"thinking={"type":"adaptive"}"#, Some("low")),
            ("global.anthropic.claude-opus-5", "none", r#"thinking={"type":"disabled"}"#, None),
            ("us.anthropic.claude-opus-5-5", "none", "", Some("low")),
            ("anthropic.claude-of-tomorrow", "max", r#"thinking={"type":"adaptive"}"#, Some("max")),
            (
                "us.amazon.nova-2-lite-v1:0",
                "low",
                r#"reasoningConfig={"type":"enabled","maxReasoningEffort":"low"}"#,
                None,
            ),
            (
                "us.amazon.nova-2-lite-v1:0",
                "high",
                r#"reasoningConfig={"type":"enabled","maxReasoningEffort":"medium"}"#,
                None,
            ),
            ("openai.gpt-oss-120b-1:0", "none", "reasoning_effort=\"low\"", None),
            ("openai.gpt-oss-120b-1:0", "high", "reasoning_effort=\"high\"", None),
            ("qwen.qwen3-32b-v1:0", "low", "reasoning_config=\"high\"", None),
            ("meta.llama3-3-70b-instruct-v1:0", "high", "", None),
        ] {
            let (plan, _) = planned(model, asked(effort), 64_000, None);
            assert_eq!((field(&plan).as_str(), plan.effort.as_deref()), (expected, said), "{model} {effort}");
        }
    }

    #[test]
    fn nova_at_high_effort_has_no_cap() {
        let (plan, notes) = planned("amazon.nova-2-lite-v1:0", asked("high"), 0, None);
        assert!(plan.bare && field(&plan).contains("high") && notes.is_empty(), "{plan:?}");
    }

    #[test]
    fn budgets_stay_below_the_cap() {
        let haiku = "anthropic.claude-haiku-4-5-20251001-v1:0";
        let budget =
            |tokens| ReasoningSettings { effort: None, budget: Some(tokens), enabled: Some(true), summary: None };
        for (asked, cap, expected, note) in [
            (2000, 4096, "2000", None),
            (9000, 4096, "4095", Some("clamped thinking.budget_tokens")),
            (10, 0, "1024", Some("clamped thinking.budget_tokens")),
            (9000, 0, "9000", None),
        ] {
            let (plan, notes) = planned(haiku, budget(asked), cap, None);
            assert!(field(&plan).contains(&format!(r#""budget_tokens":{expected}}}"#)), "{plan:?}");
            assert_eq!(notes.first().map(String::as_str), note);
        }
        let (plan, notes) = planned(haiku, budget(2000), 1000, None);
        assert_eq!((plan.thinks, notes), (false, vec!["dropped reasoning".to_owned()]));
    }

    #[test]
    fn no_tool_is_forced_while_thinking() {
        for (model, expected, unforced) in [
            ("anthropic.claude-haiku-4-5-20251001-v1:0", "", false),
            ("anthropic.claude-opus-5", r#"thinking={"type":"disabled"}"#, false),
            ("anthropic.claude-opus-5-5", r#"thinking={"type":"adaptive"}"#, true),
        ] {
            let (plan, _) = planned(model, asked("high"), 64_000, Some(ToolChoice::Required));
            assert_eq!((field(&plan).as_str(), plan.unforced), (expected, unforced), "{model}");
            assert_eq!(plan.thinks, unforced, "{model}");
        }
    }
}
