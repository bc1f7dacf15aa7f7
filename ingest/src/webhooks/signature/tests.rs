use super::*;

const BODY: &[u8] = br#"{"type":"post_call_transcription","event_timestamp":1739537297,"data":{}}"#;
const SECRET: &str = "wsec_0123456789abcdef";
const OTHER: &str = "wsec_another";
const NOW: i64 = 1_800_000_000;
const WINDOW: Window = Window { tolerance: Duration::from_secs(3600), skew: Duration::from_secs(300) };

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(HEADER, value.parse().unwrap());
    }
    headers
}

fn verify_with(header: &str, secrets: &[&str], body: &[u8]) -> Result<(), SignatureError> {
    let signature = Signature::parse(&headers(&[header]))?;
    let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    let mut verifier = Verifier::new(&signature, &secrets);
    // In pieces, as a body comes.
    body.chunks(7).for_each(|chunk| verifier.update(chunk));
    verifier.finish(DateTime::from_timestamp(NOW, 0).unwrap(), WINDOW)
}

fn verify(header: &str) -> Result<(), SignatureError> {
    verify_with(header, &[SECRET], BODY)
}

fn mac(secret: &str, time: &str) -> String {
    hex::encode(start(secret, time).chain_update(BODY).finalize().into_bytes())
}

#[test]
fn a_signature_is_what_an_independent_hmac_says() {
    // printf '%s.%s' 1739537297 '{"a":1}' | openssl dgst -sha256 -hmac wsec_test
    let expected = "t=1739537297,v0=62277903f838e2226a5b24a1f6b0d0641c7db163f910b5e6ed34b110ea66699a";
    assert_eq!(sign("wsec_test", 1_739_537_297, br#"{"a":1}"#), expected);
}

#[test]
fn good_ones_are_taken_however_they_are_written() {
    let good = mac(SECRET, &NOW.to_string());
    let bad = "0".repeat(64);
    for header in [
        sign(SECRET, NOW, BODY),
        format!("v0={good},t={NOW}"),
        format!("t={NOW},v0={good},v1=0123,x,=,"),
        format!(" t={NOW} ,\tv0={good} "),
        format!("t={NOW},v0={bad},v0={good}"),
        format!("t={NOW},v0={good},v0={bad}"),
        format!("t={NOW},v0=zz,v0={good}"),
        format!("t={NOW},v0={}", good.to_uppercase()),
    ] {
        assert_eq!(verify(&header), Ok(()), "{header}");
    }
    // What was written is what was signed, also with a zero in front.
    assert_eq!(verify(&format!("t=0{NOW},v0={}", mac(SECRET, &format!("0{NOW}")))), Ok(()));
}

#[test]
fn any_secret_in_use_will_do() {
    let header = sign(SECRET, NOW, BODY);
    assert_eq!(verify_with(&header, &[OTHER, SECRET], BODY), Ok(()));
    assert_eq!(verify_with(&header, &[SECRET, OTHER], BODY), Ok(()));
    assert_eq!(verify_with(&header, &[OTHER], BODY), Err(SignatureError::BadSignature));
    assert_eq!(verify_with(&header, &[], BODY), Err(SignatureError::BadSignature));
}

#[test]
fn other_bytes_are_refused() {
    let header = sign(SECRET, NOW, BODY);
    let spaced = String::from_utf8(BODY.to_vec()).unwrap().replace(':', ": ").replace(',', ", ");
    let longer = [BODY, b"\n"].concat();
    for body in [spaced.as_bytes(), &longer, &BODY[1..], b""] {
        assert_eq!(verify_with(&header, &[SECRET], body), Err(SignatureError::BadSignature));
    }
    assert_eq!(verify_with(&sign(SECRET, NOW, b""), &[SECRET], b""), Ok(()));
}

#[test]
fn what_cannot_be_read_says_why() {
    use SignatureError::{BadSignature, BadTimestamp, Malformed, NoHash};
    let good = mac(SECRET, &NOW.to_string());
    let many = format!("t={NOW}{}", format!(",v0={}", "0".repeat(64)).repeat(32));
    for (header, why) in [
        ("", BadTimestamp),
        ("nonsense", BadTimestamp),
        (&format!("v0={good}"), BadTimestamp),
        (&format!("t={NOW},t={NOW},v0={good}"), BadTimestamp),
        (&format!("t=1,v0={good},t={NOW}"), BadTimestamp),
        (&format!("t=soon,v0={}", mac(SECRET, "soon")), BadTimestamp),
        (&format!("t=,v0={}", mac(SECRET, "")), BadTimestamp),
        (&format!("t=-5,v0={}", mac(SECRET, "-5")), BadTimestamp),
        (&format!("t=+{NOW},v0={}", mac(SECRET, &format!("+{NOW}"))), BadTimestamp),
        (&format!("t={NOW}.0,v0={}", mac(SECRET, &format!("{NOW}.0"))), BadTimestamp),
        (&format!("t=9{NOW}000000000,v0={good}"), BadTimestamp),
        (&format!("t={NOW}"), NoHash),
        (&format!("t={NOW},v1={good}"), NoHash),
        (&format!("t={NOW},V0={good}"), NoHash),
        (&format!("t={NOW},v0="), BadSignature),
        (&format!("t={NOW},v0={}", &good[1..]), BadSignature),
        (&format!("t={NOW},v0={good}00"), BadSignature),
        (&many, Malformed),
        (&format!("t={NOW},v0={}", "0".repeat(5000)), Malformed),
    ] {
        assert_eq!(verify(header), Err(why), "{header}");
    }
    assert_eq!(Signature::parse(&HeaderMap::new()), Err(SignatureError::Missing));
    let header = sign(SECRET, NOW, BODY);
    assert_eq!(Signature::parse(&headers(&[&header, &header])), Err(Malformed));
    let mut binary = HeaderMap::new();
    binary.insert(HEADER, axum::http::HeaderValue::from_bytes(b"t=1,v0=\xff").unwrap());
    assert_eq!(Signature::parse(&binary), Err(Malformed));
}

#[test]
fn time_is_told_of_good_signatures_alone() {
    use SignatureError::{BadSignature, Expired, Future};
    for (time, verdict) in [
        (NOW - 3600, Ok(())),
        (NOW - 3601, Err(Expired)),
        (NOW + 300, Ok(())),
        (NOW + 301, Err(Future)),
        (NOW + 365 * 24 * 3600, Err(Future)),
        (NOW * 1000, Err(Future)),
        (0, Err(Expired)),
        (999_999_999_999_999_999, Err(Future)),
    ] {
        assert_eq!(verify(&sign(SECRET, time, BODY)), verdict, "{time}");
        assert_eq!(verify(&sign(OTHER, time, BODY)), Err(BadSignature), "{time}");
    }
}

#[test]
fn every_cause_has_a_name_of_its_own() {
    use SignatureError as E;
    let all = [E::Missing, E::Malformed, E::BadTimestamp, E::NoHash, E::BadSignature, E::Expired, E::Future];
    let labels: std::collections::BTreeSet<_> = all.iter().map(|error| error.label()).collect();
    assert_eq!(labels.len(), all.len());
}
