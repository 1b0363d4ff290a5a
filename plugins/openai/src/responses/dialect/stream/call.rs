//! Open calls of functions and custom tools, which may come side by side.

use portcullis_plugin::ir::{Delta, Failure, FailureKind, Field, PartStart};
use portcullis_plugin::json::{self, Writer};
use serde::{Deserialize, Serialize};

use super::{Encoder, LONGEST, misplaced};
use crate::CUSTOM_TOOL;
use crate::responses::dialect::mint;
use crate::responses::wire::output::CallItem;
use crate::responses::wire::{CALLER, ITEM_ID, NAMESPACE, carried_json};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) part: u32,
    pub(super) index: u32,
    pub(super) id: String,
    pub(super) call_id: String,
    pub(super) name: String,
    pub(super) custom: bool,
    pub(super) arguments: String,
    /// Names and values of what the item carries.
    pub(super) carry: Vec<(String, String)>,
}

impl Encoder<'_> {
    pub(super) fn call(&mut self, start: &PartStart) {
        self.close_message();
        self.close_thought();
        let index = self.next_item();
        let custom = carried_json(&start.carry, CUSTOM_TOOL).is_some();
        let id: Option<String> = json::field(&start.carry, ITEM_ID);
        let kept = start.carry.iter().filter(|field| [NAMESPACE, CALLER].contains(&field.name.as_str()));
        let call = Call {
            part: start.at.part,
            index,
            id: id.unwrap_or_else(|| mint(self.context, if custom { "ctc" } else { "fc" }, index)),
            call_id: start.id.clone(),
            name: start.name.clone(),
            custom,
            arguments: String::new(),
            carry: kept.map(|field| (field.name.clone(), field.value.clone())).collect(),
        };
        let item = call.item("in_progress");
        self.added(index, &item);
        self.state.calls.push(call);
    }

    pub(super) fn arguments(&mut self, delta: &Delta) -> Result<(), Failure> {
        let known = self.state.calls.iter_mut().find(|call| call.part == delta.at.part);
        let call = known.ok_or_else(|| misplaced(delta.at))?;
        call.arguments.push_str(&delta.text);
        let (index, id, custom) = (call.index, call.id.clone(), call.custom);
        let all: usize = self.state.calls.iter().map(|call| call.arguments.len()).sum();
        if all > LONGEST {
            let message = "The arguments of a tool call are too long to be repeated in this protocol's stream.";
            return Err(Failure::new(FailureKind::Internal, message));
        }
        self.fit();
        self.frame(&format!("{}.delta", call_event(custom)), |writer| {
            writer.member_string("item_id", &id);
            writer.member_number("output_index", index);
            writer.member_string("delta", &delta.text);
        });
        Ok(())
    }

    pub(super) fn close_call(&mut self, at: usize) {
        let call = self.state.calls.remove(at);
        self.frame(&format!("{}.done", call_event(call.custom)), |writer| {
            writer.member_string("item_id", &call.id);
            writer.member_number("output_index", call.index);
            writer.member_string(if call.custom { "input" } else { "arguments" }, &call.arguments);
            if !call.custom {
                writer.member_string("name", &call.name);
            }
        });
        self.done(call.index, call.item("completed"));
    }
}

impl Call {
    fn item(&self, status: &str) -> String {
        let carry: Vec<Field> = self.carry.iter().map(|(name, value)| Field::new(name, value.as_str())).collect();
        let mut writer = Writer::with_capacity(self.arguments.len() + 160);
        CallItem {
            id: Some(&self.id),
            call_id: &self.call_id,
            name: &self.name,
            arguments: &self.arguments,
            custom: self.custom,
            status: Some(status),
            carry: &carry,
            extra: &[],
        }
        .write(&mut writer);
        writer.finish()
    }
}

fn call_event(custom: bool) -> &'static str {
    if custom { "response.custom_tool_call_input" } else { "response.function_call_arguments" }
}
