//! The standard classes and their keywords: what the router knows of requests before the operator says more.

use crate::keywords::Keyword;

/// What a class of requests wants, and what its answers look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traits {
    /// The quality (0 to 100) at which more is worth little.
    pub quality: f64,
    /// Models below are chosen only when nothing else can be.
    pub floor: f64,
    /// Tokens of an answer: this many …
    pub output_tokens: u32,
    /// … and this share of the input's.
    pub output_percent: u32,
}

const fn traits(quality: f64, floor: f64, output_tokens: u32, output_percent: u32) -> Traits {
    Traits { quality, floor, output_tokens, output_percent }
}

/// In the order in which ties are decided: the more demanding class first. The last one has no keywords; it is for
/// requests that say nothing.
pub const CLASSES: [(&str, Traits); 8] = [
    ("code", traits(85.0, 40.0, 800, 0)),
    ("maths", traits(88.0, 45.0, 600, 0)),
    ("reasoning", traits(90.0, 45.0, 1000, 0)),
    ("translation", traits(70.0, 0.0, 50, 110)),
    ("summary", traits(65.0, 0.0, 300, 5)),
    ("creative", traits(75.0, 0.0, 900, 0)),
    ("quick", traits(45.0, 0.0, 60, 0)),
    ("general", traits(65.0, 0.0, 400, 0)),
];

pub const CODE: u8 = 0;
pub const MATHS: u8 = 1;
pub const REASONING: u8 = 2;
pub const TRANSLATION: u8 = 3;
pub const SUMMARY: u8 = 4;
pub const CREATIVE: u8 = 5;
pub const QUICK: u8 = 6;
pub const GENERAL: u8 = 7;

/// Sorted, as [`Table`](crate::keywords::Table) needs them.
pub static KEYWORDS: &[Keyword] = &[
    Keyword::new("abstract", SUMMARY),
    Keyword::new("algebra", MATHS),
    Keyword::new("algorithm", CODE),
    Keyword::new("analyse", REASONING),
    Keyword::new("analyze", REASONING),
    Keyword::new("api", CODE),
    Keyword::new("argument", REASONING),
    Keyword::new("arithmetic", MATHS),
    Keyword::new("async", CODE),
    Keyword::new("bash", CODE),
    Keyword::new("blog post", CREATIVE),
    Keyword::new("brainstorm", CREATIVE),
    Keyword::new("briefly", QUICK),
    Keyword::new("bug", CODE),
    Keyword::new("bullet", SUMMARY),
    Keyword::new("bullet points", SUMMARY),
    Keyword::new("c#", CODE),
    Keyword::new("c++", CODE),
    Keyword::new("calculate", MATHS),
    Keyword::new("calculus", MATHS),
    Keyword::new("character", CREATIVE),
    Keyword::new("code", CODE),
    Keyword::new("code review", CODE),
    Keyword::new("codebase", CODE),
    Keyword::new("compare", REASONING),
    Keyword::new("compile", CODE),
    Keyword::new("compiler", CODE),
    Keyword::new("contradiction", REASONING),
    Keyword::new("critique", REASONING),
    Keyword::new("css", CODE),
    Keyword::new("debug", CODE),
    Keyword::new("deduce", REASONING),
    Keyword::new("define", QUICK),
    Keyword::new("derivative", MATHS),
    Keyword::new("diagnose", REASONING),
    Keyword::new("differentiate", MATHS),
    Keyword::new("digest", SUMMARY),
    Keyword::new("dockerfile", CODE),
    Keyword::new("eigenvalue", MATHS),
    Keyword::new("equation", MATHS),
    Keyword::new("evaluate", REASONING),
    Keyword::new("exception", CODE),
    Keyword::new("factorial", MATHS),
    Keyword::new("fiction", CREATIVE),
    Keyword::new("function", CODE),
    Keyword::new("geometry", MATHS),
    Keyword::new("golang", CODE),
    Keyword::new("haiku", CREATIVE),
    Keyword::new("hello", QUICK),
    Keyword::new("hey", QUICK),
    Keyword::new("hi", QUICK),
    Keyword::new("html", CODE),
    Keyword::new("hypothesis", REASONING),
    Keyword::new("in french", TRANSLATION),
    Keyword::new("in german", TRANSLATION),
    Keyword::new("in short", SUMMARY),
    Keyword::new("in spanish", TRANSLATION),
    Keyword::new("infer", REASONING),
    Keyword::new("integral", MATHS),
    Keyword::new("into english", TRANSLATION),
    Keyword::new("into french", TRANSLATION),
    Keyword::new("into german", TRANSLATION),
    Keyword::new("into italian", TRANSLATION),
    Keyword::new("into japanese", TRANSLATION),
    Keyword::new("into spanish", TRANSLATION),
    Keyword::new("java", CODE),
    Keyword::new("javascript", CODE),
    Keyword::new("json", CODE),
    Keyword::new("key points", SUMMARY),
    Keyword::new("kotlin", CODE),
    Keyword::new("kubernetes", CODE),
    Keyword::new("limerick", CREATIVE),
    Keyword::new("logarithm", MATHS),
    Keyword::new("logic", REASONING),
    Keyword::new("lyrics", CREATIVE),
    Keyword::new("main points", SUMMARY),
    Keyword::new("math", MATHS),
    Keyword::new("mathematics", MATHS),
    Keyword::new("maths", MATHS),
    Keyword::new("matrix", MATHS),
    Keyword::new("novel", CREATIVE),
    Keyword::new("null pointer", CODE),
    Keyword::new("one sentence", QUICK),
    Keyword::new("one word", QUICK),
    Keyword::new("outline", SUMMARY),
    Keyword::new("paradox", REASONING),
    Keyword::new("php", CODE),
    Keyword::new("plan", REASONING),
    Keyword::new("plot", CREATIVE),
    Keyword::new("poem", CREATIVE),
    Keyword::new("poetry", CREATIVE),
    Keyword::new("polynomial", MATHS),
    Keyword::new("probability", MATHS),
    Keyword::new("proof", REASONING),
    Keyword::new("pros and cons", REASONING),
    Keyword::new("prove", REASONING),
    Keyword::new("pull request", CODE),
    Keyword::new("puzzle", REASONING),
    Keyword::new("pytest", CODE),
    Keyword::new("python", CODE),
    Keyword::new("quadratic", MATHS),
    Keyword::new("quick", QUICK),
    Keyword::new("quick question", QUICK),
    Keyword::new("quickly", QUICK),
    Keyword::new("rationale", REASONING),
    Keyword::new("react", CODE),
    Keyword::new("reason", REASONING),
    Keyword::new("reasoning", REASONING),
    Keyword::new("recap", SUMMARY),
    Keyword::new("refactor", CODE),
    Keyword::new("regex", CODE),
    Keyword::new("rhyme", CREATIVE),
    Keyword::new("riddle", REASONING),
    Keyword::new("roleplay", CREATIVE),
    Keyword::new("root cause", REASONING),
    Keyword::new("ruby", CODE),
    Keyword::new("rust", CODE),
    Keyword::new("screenplay", CREATIVE),
    Keyword::new("script", CODE),
    Keyword::new("short story", CREATIVE),
    Keyword::new("shorten", SUMMARY),
    Keyword::new("simple", QUICK),
    Keyword::new("simply", QUICK),
    Keyword::new("slogan", CREATIVE),
    Keyword::new("solve for", MATHS),
    Keyword::new("song", CREATIVE),
    Keyword::new("sonnet", CREATIVE),
    Keyword::new("sql", CODE),
    Keyword::new("square root", MATHS),
    Keyword::new("stack trace", CODE),
    Keyword::new("stacktrace", CODE),
    Keyword::new("standard deviation", MATHS),
    Keyword::new("step by step", REASONING),
    Keyword::new("story", CREATIVE),
    Keyword::new("strategy", REASONING),
    Keyword::new("summaries", SUMMARY),
    Keyword::new("summarise", SUMMARY),
    Keyword::new("summarize", SUMMARY),
    Keyword::new("summary", SUMMARY),
    Keyword::new("swift", CODE),
    Keyword::new("synonym", QUICK),
    Keyword::new("tagline", CREATIVE),
    Keyword::new("tale", CREATIVE),
    Keyword::new("terraform", CODE),
    Keyword::new("thanks", QUICK),
    Keyword::new("theorem", MATHS),
    Keyword::new("think carefully", REASONING),
    Keyword::new("tl dr", SUMMARY),
    Keyword::new("tldr", SUMMARY),
    Keyword::new("to english", TRANSLATION),
    Keyword::new("to french", TRANSLATION),
    Keyword::new("to german", TRANSLATION),
    Keyword::new("to spanish", TRANSLATION),
    Keyword::new("trade off", REASONING),
    Keyword::new("trade offs", REASONING),
    Keyword::new("translate", TRANSLATION),
    Keyword::new("translated", TRANSLATION),
    Keyword::new("translating", TRANSLATION),
    Keyword::new("translation", TRANSLATION),
    Keyword::new("trigonometry", MATHS),
    Keyword::new("typescript", CODE),
    Keyword::new("unit test", CODE),
    Keyword::new("unittest", CODE),
    Keyword::new("what if", REASONING),
    Keyword::new("what time", QUICK),
    Keyword::new("yes or no", QUICK),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keywords::is_keyword;

    #[test]
    fn the_keywords_are_sorted_and_well_formed() {
        assert!(KEYWORDS.is_sorted());
        assert!(KEYWORDS.windows(2).all(|pair| pair[0].text != pair[1].text));
        for keyword in KEYWORDS {
            assert!(is_keyword(&keyword.text), "{}", keyword.text);
            assert!(keyword.class < GENERAL);
        }
    }

    #[test]
    fn the_indices_are_the_classes_places() {
        for (index, name) in [(CODE, "code"), (TRANSLATION, "translation"), (QUICK, "quick"), (GENERAL, "general")] {
            assert_eq!(CLASSES[usize::from(index)].0, name);
        }
    }
}
