use super::*;

fn texts(text: &str) -> Vec<String> {
    words(text).into_iter().map(|word| word.text).collect()
}

#[test]
fn words_are_folded_and_counted() {
    let found = words("Call for HELP, now!");
    let shown: Vec<_> =
        found.iter().map(|word| (word.text.as_str(), word.position, word.bytes.clone())).collect();
    assert_eq!(shown, [("call", 1, 0..4), ("for", 2, 5..8), ("help", 3, 9..13), ("now", 4, 15..18)]);
    assert_eq!(
        texts("don't user@example.com 3.14 a_b end.Next"),
        ["don", "t", "user", "example", "com", "3", "14", "a", "b", "end", "next"]
    );
}

#[test]
fn latin_and_greek_lose_their_marks_however_composed() {
    for same in ["Café", "cafe\u{301}", "CAFE", "ｃａｆé"] {
        assert_eq!(texts(same), ["cafe"], "{same}");
    }
    assert_eq!(
        texts("Straße STRASSE İstanbul ısı Łódź søt ﬁn Ærø"),
        ["strasse", "strasse", "istanbul", "isi", "lodz", "sot", "fin", "aero"]
    );
    assert_eq!(texts("ΑΘΗΝΑΣ"), texts("Αθήνας"));
    // Marks that make another letter stay.
    assert_ne!(texts("мой"), texts("мои"));
}

#[test]
fn devanagari_keeps_its_vowels_and_joins() {
    assert_eq!(texts("मदद कीजिए।"), ["मदद", "कीजिए"]);
    assert_ne!(texts("कि"), texts("की"));
    // Joiners say how a conjunct looks, not which word it is.
    assert_eq!(texts("क्‍ष"), texts("क्ष"));
    assert_eq!(texts("ज़रूरत"), texts("ज\u{93c}रूरत"));
}

#[test]
fn arabic_is_found_without_vowels_hamzas_and_stretching() {
    assert_eq!(texts("مُسَاعَدَة"), texts("مساعدة"));
    assert_eq!(texts("أحمد إلى"), texts("احمد الى"));
    assert_eq!(texts("مـــساعدة"), texts("مساعدة"));
    assert_eq!(texts("النجدة، ساعدني"), ["النجدة", "ساعدني"]);
}

#[test]
fn scripts_without_spaces_are_singles_and_pairs() {
    let found = words("東京都 x");
    let shown: Vec<_> = found.iter().map(|word| (word.text.as_str(), word.kind, word.position)).collect();
    assert_eq!(
        shown,
        [
            ("東", Kind::Single, 1),
            ("東京", Kind::Pair, 1),
            ("京", Kind::Single, 2),
            ("京都", Kind::Pair, 2),
            ("都", Kind::Single, 3),
            ("x", Kind::Whole, 4),
        ]
    );
    // Half and full width, composed or not.
    assert_eq!(texts("ガス"), texts("ｶﾞｽ"));
    assert_eq!(texts("สวัสดี").len(), 7);
    assert_eq!(texts("Rust言語"), ["rust", "言", "言語", "語"]);
    assert_eq!(texts("東、京"), ["東", "京"]);
}

#[test]
fn an_emoji_is_a_word_whatever_its_skin() {
    assert_eq!(texts("ok👍🏽👍"), ["ok", "👍", "👍"]);
    assert_eq!(texts("❤️"), texts("❤"));
    assert_eq!(texts("👨‍👩‍👧🇮🇳").len(), 2);
    assert_ne!(texts("🇮🇳"), texts("🇩🇪"));
}

#[test]
fn korean_and_cyrillic_are_words() {
    assert_eq!(texts("도와주세요 ПОМОГИТЕ"), ["도와주세요", "помогите"]);
}

#[test]
fn only_letters_marks_and_emoji_are_left_and_never_too_much() {
    assert_eq!(texts("  \0 ' \\ & | ! <-> :* ( ) \" — … 。、\u{200b}\u{fe0f}\u{301}"), Vec::<String>::new());
    for (text, chars) in [("x".repeat(70_000), 64), ("é".repeat(500), 64), ("\u{fdfa}".repeat(500), 64)] {
        let found = texts(&text);
        assert_eq!((found.len(), found[0].chars().count()), (1, chars));
    }
    // A cluster may be as long as its text.
    let marked = format!("क{}", "\u{94d}".repeat(20_000));
    assert!(texts(&marked).iter().all(|text| text.chars().count() <= 64));
    let all: String = (0..=0x3_ffff).filter_map(char::from_u32).collect();
    for word in words(&all) {
        assert!(!word.text.contains(['\'', '\\', ' ', '=', '\0', ':', '"']), "{word:?}");
        assert!(all.is_char_boundary(word.bytes.start) && all.is_char_boundary(word.bytes.end));
    }
}
