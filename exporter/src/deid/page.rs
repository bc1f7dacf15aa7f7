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
    if let Some(known) = &done.anonymity {
        summary["profile"] = json!("safe-harbor");
        summary["k_anonymity"] = json!({
            "quasi_identifiers": ["age_group", "providers", "language", "years"],
            "k": known.k, "persons": known.persons, "classes": known.classes, "smallest_class": known.smallest,
            "persons_suppressed": known.suppressed, "smallest_class_left": known.smallest_left,
        });
    }
    if done.applied.redact {
        summary["list"] = json!(arguments.file_of(Part::Redactions));
    }
    summary
}

/// For people.
pub(crate) fn page(done: &Done, arguments: &Arguments) -> String {
    let mut page = String::from("# De-identification\n");
    if let Some(known) = &done.anonymity {
        page.push_str(SAFE_HARBOR);
        let _written = writeln!(
            page,
            "- persons: {} (participants, and conversations of nobody that is known), in {} combinations; the rarest is \
             shared by {}\n- k: {}; persons whose values are suppressed, as fewer share them: {}\n- the rarest combination \
             left is shared by {}",
            known.persons, known.classes, known.smallest, known.k, known.suppressed, known.smallest_left
        );
    }
    if let Some(fingerprint) = done.fingerprint.as_ref().filter(|_| done.anonymity.is_none()) {
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
    let looked_for = if done.anonymity.is_some() { Mark::ALL.len() } else { Mark::ALL.len() - STRICT };
    let kinds: Vec<_> =
        Mark::ALL.iter().take(looked_for).map(|mark| format!("`{}`", mark.stands())).collect();
    let _written = writeln!(page, "\nMarks that may stand in texts: {}.", kinds.join(", "));
    page
}

/// How many kinds of marks are looked for under Safe Harbor alone.
const STRICT: usize = 2;

const SAFE_HARBOR: &str = "
## Profile Safe Harbor

After 45 CFR 164.514(b)(2), as far as a program can. **A program cannot read what people say: somebody who knows the subject has
to read the free text before this is given away as de-identified.** What becomes of the eighteen identifiers:

| identifier | in fields | in free text |
|---|---|---|
| (A) names | left out | not found |
| (B) places smaller than a state | left out, coordinates too | numbers of five digits and more as `[NUMBER]`; others not found |
| (C) dates but years, ages over 89 | years, whole hours since a conversation began, ten years of age or 90+ | `[DATE]`, `[DATE_OF_BIRTH]`; ages not found |
| (D) telephone numbers, (E) fax numbers | left out | `[PHONE]` |
| (F) e-mail addresses | left out | `[EMAIL]` |
| (G) social security numbers | there are none | `[NUMBER]` |
| (H) medical record, (I) health plan beneficiary, (J) account, (K) certificate and licence numbers | left out | `[NUMBER]`, `[CARD]`, `[IBAN]` where of five digits or more |
| (L) vehicles, (M) devices | left out | `[NUMBER]` where of five digits or more |
| (N) URLs, (O) IP addresses | left out | `[URL]`, `[IP]` |
| (P) biometrics, voice; (Q) photographs | no sound, picture or name of one | - |
| (R) any other unique number or code | random surrogates; no sequence, position or hash of the log | `[NUMBER]` where of five digits or more |

Surrogates are made with a random key, which is kept only where `--keep-mapping` asked for it, and not in this folder. Rows are
in the order of surrogates, files do not tell a range of the log, and the manifest tells neither times nor whom was asked for.
Such a data set is another one each time it is made; with the mapping it can be verified. Sequences were left out, since one
leads whoever reads the log to the row.

### k-anonymity

Of what tells persons apart beside what they said: `age_group`, `providers`, `language` and `years`, all together.

";

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
