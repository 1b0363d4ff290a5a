//! Whole answers: the `response` object, in the shape the official clients' types demand.
//!
//! Texts that follow one another are one message; each call and each thought is an item. Another provider's reasoning carries
//! its proof as `wire::proof` describes.

use portcullis_plugin::ir::{Choice, Content, Context, Part, Response};
use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::Reply;

use super::mint;
use crate::responses::FORMAT;
use crate::responses::wire::answer::{Document, status_of};
use crate::responses::wire::output::{CallItem, Thought, write_spoken};
use crate::responses::wire::{ITEM_ID, ITEM_MEMBER, PHASE, RAW_ITEM, carried, carried_json, proof};

pub fn encode(context: &Context, reply: &Reply, response: &Response) -> String {
    let own = response.format == FORMAT;
    let choice = response.choices.first();
    let mut items = Writer::with_capacity(256);
    if let Some(choice) = choice {
        Items { context, writer: &mut items, own, count: 0 }.write(choice);
    }
    let output = items.finish();
    let finish = choice.and_then(|choice| choice.finish.as_ref());
    let (mut status, incomplete) = status_of(finish, own);
    // An answer in the background is not finished yet.
    let unfinished: Option<String> =
        portcullis_plugin::json::field(&response.extra, "status").filter(|_| own && finish.is_none());
    if let Some(unfinished) = &unfinished {
        status = unfinished;
    }
    let mut writer = Writer::with_capacity(output.len() + 1024);
    let id = answer_id(context, own, &response.id);
    let error = (status == "failed").then_some(("server_error", "The provider reported an error."));
    Document {
        id: &id,
        created: response.created.unwrap_or(context.now / 1000),
        model: if response.model.is_empty() { &reply.requested_model } else { &response.model },
        status,
        incomplete,
        error,
        output: &output,
        usage: response.usage.as_ref(),
        reply: Some(reply),
        echo: &reply.echo,
        extra: if own { &response.extra } else { &[] },
    }
    .write(&mut writer);
    writer.finish()
}

/// An answer's id: its own, or one of this protocol's.
pub fn answer_id(context: &Context, own: bool, id: &str) -> String {
    if own && !id.is_empty() { id.to_owned() } else { mint(context, "resp", 0) }
}

struct Items<'a> {
    context: &'a Context,
    writer: &'a mut Writer,
    own: bool,
    count: u32,
}

impl Items<'_> {
    fn write(&mut self, choice: &Choice) {
        let mut rest = choice.parts.as_slice();
        while let Some(first) = rest.first() {
            let together = match &first.content {
                Content::Text(_) | Content::Refusal(_) => {
                    run(rest, |part| matches!(part.content, Content::Text(_) | Content::Refusal(_)))
                }
                Content::Reasoning(thought) if thought.format == FORMAT => {
                    run(rest, |part| matches!(&part.content, Content::Reasoning(thought) if thought.format == FORMAT))
                }
                _ => 1,
            };
            let (item, after) = rest.split_at(together);
            rest = after;
            match &first.content {
                Content::Text(_) | Content::Refusal(_) => self.message(item),
                Content::Reasoning(thought) if thought.format == FORMAT => self.thought(item),
                Content::Reasoning(thought) => {
                    let id = self.id("rs", first);
                    let encrypted =
                        proof::wrap(&thought.format, thought.signature.as_deref(), thought.redacted.as_deref());
                    let mut item = Thought { id: &id, encrypted: Some(&encrypted), ..Thought::default() };
                    item.format = Some(&thought.format);
                    let texts = if thought.summary { &mut item.summary } else { &mut item.content };
                    texts.extend(Some(thought.text.as_str()).filter(|text| !text.is_empty()));
                    item.write(self.writer);
                }
                Content::ToolCall(call) => {
                    let id = self.id(if call.custom { "ctc" } else { "fc" }, first);
                    let status = Some("completed");
                    let extra = if self.own { first.extra.as_slice() } else { &[] };
                    CallItem { id: Some(&id), status, carry: &first.carry, extra, ..CallItem::of(call) }
                        .write(self.writer);
                }
                Content::Other(item) if item.format == FORMAT && carried_json(&first.carry, RAW_ITEM).is_some() => {
                    self.writer.raw(&item.value);
                }
                // Images, sounds and other protocols' items have no place in an answer.
                _ => {}
            }
        }
    }

    fn id(&mut self, prefix: &str, part: &Part) -> String {
        self.count += 1;
        carried(part, ITEM_ID).unwrap_or_else(|| mint(self.context, prefix, self.count))
    }

    fn message(&mut self, parts: &[Part]) {
        let id = self.id("msg", &parts[0]);
        let first = &parts[0];
        self.writer.begin_object();
        self.writer.member_string("type", "message");
        self.writer.member_string("id", &id);
        self.writer.member_string("role", "assistant");
        let own = |name: &str| {
            let name = format!("{ITEM_MEMBER}{name}");
            first.extra.iter().find(|field| self.own && field.name == name).map(|field| field.value.clone())
        };
        self.writer.member_raw("status", &own("status").unwrap_or_else(|| r#""completed""#.to_owned()));
        if let Some(phase) = carried_json(&first.carry, PHASE) {
            self.writer.member_raw("phase", phase);
        }
        self.writer.key("content");
        self.writer.begin_array();
        for part in parts {
            let extra = if self.own { part.extra.as_slice() } else { &[] };
            match &part.content {
                Content::Text(text) => write_spoken(self.writer, text, false, &part.carry, extra),
                Content::Refusal(text) => write_spoken(self.writer, text, true, &part.carry, extra),
                _ => {}
            }
        }
        self.writer.end_array();
        self.writer.end_object();
    }

    fn thought(&mut self, parts: &[Part]) {
        let mut thought = Thought::default();
        let (mut sealed_id, mut encrypted) = (None, None);
        for part in parts {
            let Content::Reasoning(own) = &part.content else { continue };
            let sealed = own.signature.as_deref().or(own.redacted.as_deref()).map(proof::open);
            let is_text = sealed.as_ref().is_some_and(|sealed| sealed.is_text) || !own.summary;
            if let Some(sealed) = sealed {
                sealed_id = sealed.id.or(sealed_id);
                encrypted = sealed.encrypted.or(encrypted);
            }
            let texts = if is_text { &mut thought.content } else { &mut thought.summary };
            texts.extend(Some(own.text.as_str()).filter(|text| !text.is_empty()));
        }
        let id = sealed_id.map_or_else(|| self.id("rs", &parts[0]), str::to_owned);
        thought.id = &id;
        thought.encrypted = encrypted;
        thought.extra = if self.own { &parts[0].extra } else { &[] };
        thought.write(self.writer);
    }
}

/// How many parts from the first on are of its item: those after it of the same kind and id. Thoughts of no known item are
/// one each.
pub fn run(parts: &[Part], same: impl Fn(&Part) -> bool) -> usize {
    let id = item_of(&parts[0]);
    if id.is_none() && matches!(parts[0].content, Content::Reasoning(_)) {
        return 1;
    }
    parts.iter().take_while(|part| same(part) && item_of(part) == id).count()
}

/// The id of the item that a part was: kept beside it, or in front of its proof.
fn item_of(part: &Part) -> Option<String> {
    let sealed = || match &part.content {
        Content::Reasoning(thought) if thought.format == FORMAT => {
            let proof = thought.signature.as_deref().or(thought.redacted.as_deref())?;
            proof::open(proof).id.map(str::to_owned)
        }
        _ => None,
    };
    carried(part, ITEM_ID).or_else(sealed)
}
