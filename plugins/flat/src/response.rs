//! A whole answer: its text, and everything that a stream's last frame has too.

use portcullis_plugin::dialect::usd;
use portcullis_plugin::json::Writer;
use portcullis_plugin::prelude::*;

pub fn encode(context: &Context, reply: &Reply, response: &Response) -> Json {
    let choice = response.choices.first();
    let parts = choice.into_iter().flat_map(|choice| &choice.parts);
    let texts = parts.filter_map(|part| match &part.content {
        Content::Text(text) | Content::Refusal(text) => Some(text.as_str()),
        _ => None,
    });
    let content: String = texts.collect();
    let mut writer = Writer::with_capacity(512 + content.len());
    writer.begin_object();
    writer.member_string("content", &content);
    let finish = choice.and_then(|choice| choice.finish.as_ref()).map(|finish| finish.reason);
    let told = Told { id: &response.id, model: &response.model, finish, usage: response.usage.as_ref() };
    told.write(&mut writer, context, reply);
    writer.end_object();
    writer.finish()
}

/// What is told of an answer besides its text.
pub struct Told<'a> {
    pub id: &'a str,
    pub model: &'a str,
    pub finish: Option<FinishReason>,
    pub usage: Option<&'a Usage>,
}

impl Told<'_> {
    /// Writes the members into the object that is open.
    pub fn write(&self, writer: &mut Writer, context: &Context, reply: &Reply) {
        let or = |text: &str, instead: &str| if text.is_empty() { instead.to_owned() } else { text.to_owned() };
        writer.member_string("id", &or(self.id, &context.request_id));
        writer.member_string("model", &or(self.model, &reply.requested_model));
        writer.member_string("provider", &reply.provider);
        writer.member_string("route_method", &reply.strategy);
        writer.member_string("finish_reason", self.finish.map_or("stop", word));
        self.write_usage(writer, reply);
        reply.write_account(writer, &[]);
    }

    /// Under the names of both families; what is not known is null, and never zero.
    fn write_usage(&self, writer: &mut Writer, reply: &Reply) {
        let input = self.usage.map(Usage::total_input);
        let output = self.usage.map(|usage| usage.output);
        writer.key("usage");
        writer.begin_object();
        for (name, tokens) in
            [("input_tokens", input), ("output_tokens", output), ("tokens_in", input), ("tokens_out", output)]
        {
            writer.key(name);
            match tokens {
                Some(tokens) => writer.number(tokens),
                None => writer.null(),
            }
        }
        writer.key("cost_usd");
        match reply.cost {
            Some(cost) => writer.raw(&usd(cost.input.saturating_add(cost.output))),
            None => writer.null(),
        }
        reply.write_cost(writer);
        writer.end_object();
    }
}

fn word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::StopSequence => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Refusal => "refusal",
        FinishReason::Pause => "pause",
        FinishReason::Error => "error",
        FinishReason::Other => "other",
    }
}
