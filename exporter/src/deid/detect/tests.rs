//! Tables of texts: what must go, what must stay.

use super::*;

fn masked(text: &str, strict: bool) -> String {
    let mut out = String::new();
    let mut offsets = Vec::new();
    let found = Detector::new(strict).mask(text, &mut out, |mark, offset| offsets.push((mark, offset)));
    assert_eq!(found, !offsets.is_empty());
    for (mark, offset) in offsets {
        let there: String = out.chars().skip(offset).take(mark.stands().len()).collect();
        assert_eq!(there, mark.stands(), "{text:?}");
    }
    if found { out } else { text.to_owned() }
}

#[test]
fn what_gives_itself_away_is_masked() {
    for (text, expected) in [
        // Addresses.
        ("Write to ada.lovelace+x@example.co.uk, please.", "Write to [EMAIL], please."),
        ("<ada@example.com>;bob@example.org", "<[EMAIL]>;[EMAIL]"),
        ("ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ is mine", "[EMAIL] is mine"),
        ("a\u{200B}da@exam\u{AD}ple.c\u{2060}om!", "[EMAIL]!"),
        ("ada@\nexample.com", "[EMAIL]"),
        ("ada\r\n@example.\n  com, I said", "[EMAIL], I said"),
        ("my mail:ada@example.comis it", "my mail:[EMAIL] it"),
        ("jörg@münchen.de", "[EMAIL]"),
        ("иван@пример.рф ok", "[EMAIL] ok"),
        ("ada [at] example [dot] com", "[EMAIL]"),
        ("it is ada dot lovelace at gmail dot com ok", "it is [EMAIL] ok"),
        ("See https://example.com/a?b=c#d.", "See [URL]."),
        ("(http://[::1]:80/x) and ftp://h/x", "([URL]) and [URL]"),
        ("www.example.com/ada or example.org", "[URL] or [URL]"),
        ("go to facebook.com/ada.l now", "go to [URL] now"),
        ("ｈｔｔｐｓ：／／ｅｘａｍｐｌｅ．ｃｏｍ", "[URL]"),
        // Telephones.
        ("Call +91 93255 90143.", "Call [PHONE]."),
        ("+4915112345678", "[PHONE]"),
        ("x+1 (415) 555-0123y", "x[PHONE]y"),
        ("call me on 9325590143 now", "call me on [PHONE] now"),
        ("tel9325590143x", "tel[PHONE]x"),
        ("٩٣٢٥٥٩٠١٤٣", "[PHONE]"),
        ("９３２５５９０１４３ or 𝟗𝟑𝟐𝟓𝟓𝟗𝟎𝟏𝟒𝟑", "[PHONE] or [PHONE]"),
        ("93\u{200B}255\u{2060}90143", "[PHONE]"),
        ("415-555-0123 / 555-0123", "[PHONE] / [PHONE]"),
        ("030/1234567, 0171 2345678, 0049 171 2345678", "[PHONE], [PHONE], [PHONE]"),
        ("06 12 34 56 78", "[PHONE]"),
        ("my mobile is 1234567", "my mobile is [PHONE]"),
        ("on 2025-10-03 9325590143 rang", "on 2025-10-03 [PHONE] rang"),
        ("at 11:58 +91 9325590143 rang", "at 11:58 [PHONE] rang"),
        // Cards and accounts.
        ("4111 1111 1111 1111", "[CARD]"),
        ("card4111-1111-1111-1111x", "card[CARD]x"),
        ("378282246310005, 5555555555554444", "[CARD], [CARD]"),
        ("٤١١١١١١١١١١١١١١١", "[CARD]"),
        ("DE89 3704 0044 0532 0130 00.", "[IBAN]."),
        ("GB82WEST12345698765432", "[IBAN]"),
        // Days of birth.
        ("I was born on 12 March 1984 in L", "I was born on [DATE_OF_BIRTH] in L"),
        ("DOB: 1984-03-12", "DOB: [DATE_OF_BIRTH]"),
        ("d.o.b. 12/03/84", "d.o.b. [DATE_OF_BIRTH]"),
        ("my birthday is March 12th, 1984", "my birthday is [DATE_OF_BIRTH]"),
        ("geboren am 12.03.1984", "geboren am [DATE_OF_BIRTH]"),
        ("born १२/०३/१९८४", "born [DATE_OF_BIRTH]"),
        ("12.03.1984", "[DATE_OF_BIRTH]"),
        ("It came from 192.168.100.200.", "It came from [IP]."),
        ("from fe80::1ff:fe23:4567:890a on", "from [IP] on"),
    ] {
        check(text, expected, false);
    }
}

fn check(text: &str, expected: &str, strict: bool) {
    assert_eq!(masked(text, strict), expected, "{text:?}");
}

#[test]
fn what_is_of_nobody_stays() {
    for text in [
        "",
        "I fell. Then I woke up... and so on.Then again",
        "at 11:58:04 on 2025-10-03, and 2025-10-03T11:58:04.123+05:30",
        "from 08:30 - 17:45, or 8.30-17.45",
        "0900-1700, 0800 1200 1600",
        "between 2019 2020 2021 and 2019-2021",
        "blood pressure 120/80 130/85 125/82",
        "1736337600 and 1736337600000 are moments",
        "1,000,000 or 1.000.000 or 10 000 000 of 12.5 %",
        "1 2 3 4 5 6 7 8 9 10",
        "20 30 40 50 60 mg",
        "3.14159265358979",
        "order 12345678, room 4711",
        "12345678901234567890123",
        "4111 1111 1111 1112 is no card",
        "DE00 1234 is no account",
        "on 12 March 2019 we met",
        "e.g. this; i.e. that; a@b; @everyone",
        "Dr.Smith et al.The end",
        "5'11\" and 37.2 °C, 10:1",
        "version 1.2.3 of std::vec::Vec",
    ] {
        check(text, text, false);
    }
}

#[test]
fn safe_harbor_takes_dates_and_numbers_too() {
    for (text, expected) in [
        ("on 12 March 2019 we met", "on [DATE] we met"),
        ("record 12345678, room 4711, ZIP 90210", "record [NUMBER], room 4711, ZIP [NUMBER]"),
        ("123-45-6789 and 120/80", "[NUMBER] and 120/80"),
        ("in 2019 at 11:58", "in 2019 at 11:58"),
    ] {
        check(text, expected, true);
    }
}

/// Texts at random from pieces that matter: nothing panics, marks stand where they are said to, and what is masked once
/// has nothing more to mask.
#[test]
fn any_text_can_be_masked_and_a_second_time_finds_nothing_new() {
    let pieces = [
        "a",
        "@",
        ".",
        "com",
        "+",
        "0",
        "9",
        "٣",
        "\u{200B}",
        "＠",
        " ",
        "\n",
        "-",
        "12",
        "19",
        "84",
        "://",
        "http",
        "www.",
        "é",
        "\u{E0001}",
        "(",
        ")",
        "/",
        ":",
        "DE89",
        "4111",
        "1111",
        "🙂",
        "dot",
        " at ",
        "[",
        "]",
    ];
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for round in 0..20_000 {
        let mut text = String::new();
        for _ in 0..round % 24 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(pieces[usize::try_from(state % pieces.len() as u64).unwrap()]);
        }
        for strict in [false, true] {
            let once = masked(&text, strict);
            masked(&once, strict);
        }
    }
}
