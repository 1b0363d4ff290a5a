//! Real traffic: every recorded answer is read as its JSON says. Runs where `PORTCULLIS_RECORDINGS` names the folder of recordings.

use portcullis_openai_chat::testing;
use portcullis_plugin::Plugin;
use portcullis_plugin_cerebras::Cerebras;

#[test]
fn every_answer_is_read() {
    let plugin = Cerebras::configure(serde_json::from_str("{}").expect("a configuration")).expect("a plugin");
    if let Some((whole, streamed)) = testing::every_recording(&plugin, "cerebras") {
        assert!(whole > 0, "{whole} whole answers, {streamed} streams");
    }
}
