use super::*;

fn tsquery(text: &str) -> String {
    Query::parse(text).unwrap().tsquery()
}

/// The marked parts of a text.
fn found(query: &str, text: &str) -> Option<Vec<String>> {
    let marks = Query::parse(query).unwrap().find(text)?;
    Some(marks.into_iter().map(|mark| text[mark].to_owned()).collect())
}

#[test]
fn words_phrases_beginnings_and_what_is_not_wanted() {
    assert_eq!(tsquery("Call  HELP"), "('call') & ('help')");
    assert_eq!(tsquery("emerg* -drill"), "('emerg':*) & !('drill')");
    let phrase = "('call' <1> 'for' <1> 'help')";
    assert_eq!(tsquery("\"call for help\""), format!("({phrase}) | ('=l' & ('call' & 'for' & 'help'))"));
    assert_eq!(tsquery("don't"), "(('don' <1> 't')) | ('=l' & ('don' & 't'))");
    // A phrase that is not wanted says nothing of texts whose positions are not all known.
    assert_eq!(tsquery("a1 -\"b c\""), "(('a1') & !('b' <1> 'c')) | ('=l' & ('a1'))");
    assert_eq!(tsquery("東京都"), "(('東京' <1> '京都')) | ('=l' & ('東京' & '京都'))");
    assert_eq!(tsquery("東"), "('東')");
    assert_eq!(tsquery("東*"), "('東')");
    assert_eq!(tsquery("Rust言語x"), "(('rust' <1> '言語' <2> 'x')) | ('=l' & ('rust' & '言語' & 'x'))");
    assert_eq!(tsquery("a\"b c"), "(('a') & ('b' <1> 'c')) | ('=l' & ('a') & ('b' & 'c'))");
}

#[test]
fn what_is_no_query_says_why() {
    for nothing in ["", " ", "!!! ??", "-", "--", "\"", "\"\"", "-not", "-\"not this\"", "* *", "\u{200b}"] {
        assert_eq!(Query::parse(nothing), Err(Invalid::Nothing), "{nothing}");
    }
    assert_eq!(Query::parse("a*"), Err(Invalid::ShortPrefix));
    assert_eq!(Query::parse(&"x ".repeat(10_000)), Err(Invalid::Long));
    assert_eq!(Query::parse(&"x ".repeat(100)), Err(Invalid::ManyWords));
    assert_eq!(Query::parse(&"漢".repeat(100)), Err(Invalid::ManyWords));
}

#[test]
fn what_it_is_true_of_is_found_in_the_text() {
    let text = "My friend is falling — call for HELP, helpless Café!";
    assert_eq!(found("help", text), Some(vec!["HELP".into()]));
    assert_eq!(found("help*", text), Some(vec!["HELP".into(), "helpless".into()]));
    assert_eq!(found("cafe \"call for help\"", text), Some(vec!["call for HELP".into(), "Café".into()]));
    for not in ["helpful", "\"call help\"", "friend -cafe", "friend -\"call for\"", "friend -fall*"] {
        assert_eq!(found(not, text), None, "{not}");
    }
    assert_eq!(found("friend -\"call help\"", text), Some(vec!["friend".into()]));
}

#[test]
fn any_part_of_a_run_without_spaces_is_found() {
    let text = "救急車を呼んでください。東京都庁の近くです";
    for part in ["救", "車", "です", "東京都庁", "京都", "呼んで", "す", "\"東京都庁の近く\""]
    {
        let plain = part.trim_matches('"').to_owned();
        assert!(found(part, text).unwrap().contains(&plain), "{part}");
    }
    for not in ["東都", "車東", "呼ぶ", "庁京"] {
        assert_eq!(found(not, text), None, "{not}");
    }
    assert_eq!(found("स्थिति", "यह स्थिति गंभीर है"), Some(vec!["स्थिति".into()]));
    assert_eq!(found("👍", "gut 👍🏽!"), Some(vec!["👍🏽".into()]));
}

/// Not random, so that a failure comes again: every pair of pieces that mean something to one of the languages here.
#[test]
fn whatever_is_typed_is_read_or_refused() {
    let pieces = [
        "a", "-", "\"", "*", ":*", " ", "'", "\\", "\0", "&", "|", "!", "(", ")", "<->", "<1>", "東", "京",
        "क्", "ि", "👍🏽", "\u{200d}", "\u{fe0f}", "\u{301}", "\u{640}", "ß", "İ", "=l", "=p:0", "%00", ";--",
        "🇮🇳", "\u{feff}",
    ];
    for first in pieces {
        for second in pieces {
            for third in pieces {
                let text = [first, second, third, first].concat();
                let Ok(query) = Query::parse(&text) else { continue };
                let made = query.tsquery();
                assert!(
                    !made.contains("\\") && !made.contains('\0') && !made.contains("'='"),
                    "{text:?}: {made}"
                );
                query.find(&text);
            }
        }
    }
}
