//! A small real HTTP server that stands in for a model provider.
//!
//! It speaks OpenAI Chat Completions (`POST /v1/chat/completions`, `GET /v1/models`), OpenAI Responses (`POST /v1/responses`),
//! Anthropic Messages (`POST /v1/messages`) and Gemini (`POST /v1beta/models/MODEL:generateContent`), whole and streamed token by token, over real sockets: `portcullis demo`, the black-box tests and
//! the benchmark all run against it. What a request asks for decides the answer and nothing else does, so two runs give the
//! same text and the same token counts; only ids and timestamps differ.
//!
//! A model name (after an optional prefix, `openai/demo-tool`), or the same word in the last user text, tells it how to
//! behave:
//!
//! | word | behaviour |
//! |---|---|
//! | `demo`, or any other name | chats pleasantly about what was asked |
//! | `demo-echo` | answers with the last user text, unchanged |
//! | `demo-tool`, or a prompt with "call the tool" | calls the first offered tool; all of them where the prompt says "tools", "both" or "parallel" |
//! | `demo-think` | reasons first: signed thinking (Anthropic), thoughts (Gemini), a summary (Responses) or `reasoning_content` (as DeepSeek has it) |
//! | `demo-long`, `demo-long-N` | a long answer, of N tokens |
//! | `demo-burst-N` | N tokens as fast as they can be written, in few writes |
//! | `demo-slow` | tokens far apart |
//! | `demo-stall` | headers, then silence |
//! | `demo-stall-headers` | silence from the start |
//! | `demo-stall-middle` | half an answer, then silence |
//! | `demo-cut` | half an answer, then the connection closes |
//! | `demo-error-STATUS` | 400, 401, 403, 404, 413, 422, 429 (with Retry-After), 500, 502, 503 or 529 |
//! | `demo-error-stream` | half a stream, then an error in the protocol's own frame |
//! | `demo-bench`, `demo-bench-stream-N` | precomputed answers that cost next to no CPU |
//!
//! Besides chat it has OpenAI's embeddings, moderations, speech, transcriptions and files, and `POST /v1/rerank`, in any model's name.
//!
//! Requests are checked as the real services check them where a gateway could get it wrong: required fields, tool results
//! that belong to no call, an altered signature of reasoning.

mod anthropic;
mod arguments;
mod ask;
mod behaviour;
mod bench;
mod gemini;
mod openai;
mod pace;
mod playback;
mod protocol;
mod refusal;
mod reply;
mod responses;
mod schema;
mod server;
mod tokens;

pub use playback::Stats;
pub use server::{Handle, Options, Received, serve};
