//! A record as a line.

use serde_json::{Map, Value};
use shared::audit::{Look, What};
use shared::envelope::Entry;

use crate::commands::tail::plain;

/// As it is printed; none where this version cannot read it.
pub(super) fn text(entry: &Entry, look: Option<Look>) -> String {
    let about = look.map_or_else(|| "! a record that this version cannot read; see --json".into(), describe);
    format!("{:>8}  {}  {about}", entry.sequence, entry.stored_at.format("%Y-%m-%d %H:%M:%S%.3f"))
}

fn describe(look: Look) -> String {
    let Look {
        who, what, conversation_id, from_sequence, to_sequence, address, request_id, mut more, ..
    } = look;
    let company = who.company.map(|company| format!(" of {}", plain(&company))).unwrap_or_default();
    let id = who.id.map(|id| format!(" {}", plain(&id))).unwrap_or_default();
    let did = did(what, &mut more);
    let at = conversation_id.map(|id| format!(" {}", plain(&id))).unwrap_or_default();
    let shown = match from_sequence.zip(to_sequence) {
        Some((from, to)) => format!(" {from}..{to}"),
        None => String::new(),
    };
    let more: Vec<_> = more.iter().map(|(name, value)| format!(" {}={}", plain(name), bare(value))).collect();
    let from = address.map(|address| format!("from {address}, ")).unwrap_or_default();
    let (role, more) = (plain(&who.role), more.concat());
    format!("{role}{id}{company}  {did}{at}{shown}{more}  {from}request {}", plain(&request_id))
}

/// What was done, in words; takes out of `more` what these words say.
fn did(what: What, more: &mut Map<String, Value>) -> String {
    let mut take = |name| more.remove(name).map(|value| bare(&value)).unwrap_or_default();
    match what {
        What::Snapshot => "read".into(),
        What::Status => "asked the status of".into(),
        What::FeedOpened => "follows".into(),
        What::FeedEnded => "followed".into(),
        What::Export => "exported".into(),
        What::Media => "fetched media of".into(),
        What::List => "listed".into(),
        What::Search => "searched".into(),
        What::DataSetBegun => "begins a data set".into(),
        What::DataSetEnded => format!("data set {}", take("outcome")),
        What::Erasure => format!("erases participant {}", take("participant")),
        What::TokenIssued => {
            let (kind, role, to) = (take("kind"), take("to_role"), take("to"));
            format!("issued {kind} to {role} {to}").trim_end().into()
        }
        What::Refused => {
            let (status, asked) = (take("status"), take("asked"));
            format!("refused {status} {asked}")
        }
    }
}

/// Text without its quotes.
fn bare(value: &Value) -> String {
    plain(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(look: Value) -> String {
        describe(serde_json::from_value(look).unwrap())
    }

    #[test]
    fn a_line_says_who_looked_at_what_and_obeys_nothing() {
        let look = json!({
            "at": "2025-10-09T08:53:20Z", "who": {"role": "admin", "id": "a\u{1b}1", "company": "c1"},
            "what": "feed_ended", "conversation_id": "conv_1", "from_sequence": 3, "to_sequence": 41,
            "address": "10.0.0.1", "request_id": "r1", "reason": "left",
        });
        assert_eq!(
            line(look),
            "admin a 1 of c1  followed conv_1 3..41 reason=left  from 10.0.0.1, request r1"
        );
    }

    #[test]
    fn what_is_no_look_reads_well_too() {
        let look = |what: &str, more: Value| {
            let mut look = json!({"at": "2025-10-09T08:53:20Z", "who": {"role": "operator", "id": "ada@host"},
                "what": what, "from_sequence": null, "to_sequence": null, "address": null, "request_id": "r1"});
            look.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            line(look)
        };
        let issued =
            json!({"kind": "token", "to_role": "researcher", "to": "r1", "expires_at": "2025-10-10"});
        assert_eq!(
            look("token_issued", issued),
            "operator ada@host  issued token to researcher r1 expires_at=2025-10-10  request r1"
        );
        let ended = json!({"outcome": "made", "manifest_sha256": "ab", "from_sequence": 1, "to_sequence": 9});
        assert_eq!(
            look("data_set_ended", ended),
            "operator ada@host  data set made 1..9 manifest_sha256=ab  request r1"
        );
        let refused = json!({"status": 403, "asked": "GET /api/conversation/{id}", "count": 7});
        assert_eq!(
            look("refused", refused),
            "operator ada@host  refused 403 GET /api/conversation/{id} count=7  request r1"
        );
        assert_eq!(
            look("erasure", json!({"participant": "tok"})),
            "operator ada@host  erases participant tok  request r1"
        );
    }
}
