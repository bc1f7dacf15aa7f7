//! JSON bodies: read with a bound in bytes and in time, refused with a sentence that says why.

use std::error::Error;

use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::limits::BODY_TIMEOUT;
use crate::problem::{FieldError, Kind, Problem};

/// A JSON object as it came.
pub type JsonObject = Map<String, Value>;

/// Reads the request's body as one JSON object of at most `limit` bytes.
///
/// # Errors
/// 415 for another media type, 413 past the limit, 408 when it stops coming, 400 when it is cut off or no JSON object.
pub async fn read_json(request: Request, limit: usize) -> Result<JsonObject, Problem> {
    let bytes = read_body(request, limit).await?;
    parse_json(&bytes)
}

/// Reads a body as one JSON object.
///
/// # Errors
/// 400 when it is none.
pub fn parse_json(bytes: &[u8]) -> Result<JsonObject, Problem> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::fields(vec![FieldError {
            field: "body".into(),
            message: "must be an object".into(),
        }])),
        Err(error) => Err(Problem::new(Kind::BadJson, format!("The body is not valid JSON: {error}."))),
    }
}

fn check_type(request: &Request) -> Result<(), Problem> {
    let given = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json =
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json {
        return Ok(());
    }
    Err(Problem::new(
        Kind::UnsupportedMediaType,
        "Send the body as JSON with Content-Type: application/json.",
    ))
}

/// Reads the request's body, said to be JSON, as it came: at most `limit` bytes.
///
/// # Errors
/// 415 for another media type, 413 past the limit, 408 when it stops coming, 400 when it is cut off.
pub async fn read_body(request: Request, limit: usize) -> Result<Bytes, Problem> {
    check_type(&request)?;
    let too_large = || Problem::new(Kind::TooLarge, format!("The body may be at most {limit} bytes."));
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let reading = axum::body::to_bytes(request.into_body(), limit);
    let read = tokio::time::timeout(BODY_TIMEOUT, reading)
        .await
        .map_err(|_| Problem::new(Kind::Timeout, "The body stopped arriving; send the request again."))?;
    read.map_err(|error| match error.source() {
        // The only error of the length limit itself; anything else is the connection's.
        Some(source) if source.to_string() == "length limit exceeded" => too_large(),
        _ => Problem::new(Kind::BadJson, "The body was cut off; send the request again."),
    })
}
