//! OpenAI Responses, as <https://platform.openai.com/docs/api-reference/responses> has it. Nothing is stored here: an answer is
//! only ever continued by sending what it held.

pub mod request;
pub mod response;
pub mod stream;
