//! Why a request gets an error and not an answer; each protocol gives it its own shape.

use http::StatusCode;

#[derive(Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub message: String,
    /// The field at fault, where there is one (OpenAI's `param`).
    pub param: Option<String>,
    /// OpenAI's `code`.
    pub code: Option<&'static str>,
    /// Seconds.
    pub retry_after: Option<u64>,
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None, retry_after: None }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub fn at(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The error a request asked for by name.
    pub fn told(status: StatusCode, model: &str) -> Self {
        let message = match status.as_u16() {
            400 => "The demo upstream was told to refuse this request.".to_owned(),
            401 => "Incorrect API key provided.".to_owned(),
            403 => "This key may not use this model.".to_owned(),
            404 => format!("The model `{model}` does not exist or you do not have access to it."),
            413 => "Request exceeds the maximum size.".to_owned(),
            429 => format!("Rate limit reached for {model}. Please try again in 1s."),
            529 => "Overloaded".to_owned(),
            503 => "The server is overloaded or not ready yet.".to_owned(),
            _ => "The server had an error while processing your request.".to_owned(),
        };
        let mut refusal = Self::new(status, message);
        match status.as_u16() {
            401 => refusal.code = Some("invalid_api_key"),
            404 => refusal.code = Some("model_not_found"),
            429 => {
                refusal.code = Some("rate_limit_exceeded");
                refusal.retry_after = Some(1);
            }
            _ => {}
        }
        refusal
    }
}
