//! What was done, for people and for programs: counts, never what was there.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Done;
use super::detect::Mark;
use crate::arguments::{Arguments, Part};

/// For programs; also a part of the manifest.
pub(crate) fn summary(done: &Done, arguments: &Arguments) -> Value {
    let file = |part: &Part| arguments.file_of(*part);
    let masked = done.masked.iter().map(|((part, column, kind), count)| {
        json!({"path": file(part), "column": column, "kind": kind, "count": count})
    });
    let mut summary = json!({
        "pseudonymize": done.applied.pseudonymize,
        "redact": done.applied.redact,
        "masked": masked.collect::<Vec<_>>(),
        "fields_left_out": done.left_out,
    });
    if let Some(fingerprint) = &done.fingerprint {
        summary["key_fingerprint"] = json!(fingerprint);
    }
    if done.applied.redact {
        summary["list"] = json!(arguments.file_of(Part::Redactions));
    }
    summary
}

/// For people.
pub(crate) fn page(done: &Done, arguments: &Arguments) -> String {
    let mut page = String::from("# De-identification\n");
    if let Some(fingerprint) = &done.fingerprint {
        page.push_str(PSEUDONYMS);
        // Into a text, which takes everything.
        let _written = writeln!(
            page,
            "Fingerprint of the key: `{fingerprint}`. Data sets with the same fingerprint have the same pseudonyms. \
             Fields of JSON that were left out: {}.",
            done.left_out
        );
    }
    if !done.applied.redact {
        page.push_str(UNMASKED);
        return page;
    }
    page.push_str(MASKED);
    let _written = writeln!(
        page,
        "Each mark, with its row and offset, is in `{}`.\n\n| file | column | mark | times |\n|---|---|---|---|",
        arguments.file_of(Part::Redactions)
    );
    for ((part, column, kind), count) in &done.masked {
        let _written =
            writeln!(page, "| `{}` | `{column}` | `[{kind}]` | {count} |", arguments.file_of(*part));
    }
    let kinds: Vec<_> = Mark::ALL.iter().take(7).map(|mark| format!("`{}`", mark.stands())).collect();
    let _written = writeln!(page, "\nMarks that may stand in texts: {}.", kinds.join(", "));
    page
}

const PSEUDONYMS: &str = "
## Pseudonyms

Ids of participants, conversations, messages, accounts, workers, admins, companies, calls, dreams, agents, events and stored
objects, e-mail addresses and telephone numbers in fields of their own: each is replaced by a pseudonym, HMAC-SHA-256 under
a secret key, apart by what it is of (`p_` a participant, `c_` a conversation, and so on). One id has one pseudonym in every
data set of that key; the key's holder alone can tell which. Names, places, coordinates, links and file names that came in
fields of their own are left out. Of JSON the fields that are known stay, and no others.

Sequences, times and what was said are as they were: whoever may read the log finds the row there. Pseudonymous data is
personal data still.
";

const UNMASKED: &str = "
## Free text

What people said is as they said it. It may hold names, addresses and numbers.
";

const MASKED: &str = "
## Free text

**Best effort, and no anonymity.** E-mail addresses, web and network addresses, telephone numbers, card and account numbers
and dates of birth are masked where their form gives them away, in digits and letters of any script. Names, places,
employers, stories, numbers in words and everything else that tells who speaks is not found. Whoever gives this data set
away has somebody read it first.
";
