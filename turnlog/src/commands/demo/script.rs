//! What is said.

/// One thing that is sent.
pub(super) struct Turn {
    /// Its place in the conversation; a correction has that of what it corrects.
    pub(super) number: u32,
    /// `user` or `assistant`.
    pub(super) role: &'static str,
    /// The words.
    pub(super) content: &'static str,
    /// Whether it replaces a turn that was sent before.
    pub(super) corrects: bool,
}

const fn turn(number: u32, role: &'static str, content: &'static str) -> Turn {
    Turn { number, role, content, corrects: false }
}

/// A voice conversation as a frontend syncs it: the agent is cut short once, and its message corrected to what was heard.
pub(super) const SCRIPT: [Turn; 9] = [
    turn(
        1,
        "assistant",
        "Hello, I'm here to talk with you about your legs and your circulation. How have you been?",
    ),
    turn(2, "user", "My calves cramp when I walk to the bakery. After a minute of standing still it's gone."),
    turn(3, "assistant", "That pattern has a name: claudication. How far do you get before it starts?"),
    turn(4, "user", "Two hundred metres, maybe. Last spring it was twice that. Is it just my age?"),
    turn(
        5,
        "assistant",
        "Age plays a part, but pain that comes with walking and leaves with rest often points to narrowed arteries, \
         and there are several tests for that, beginning with blood pressure at the ankle and the arm, which",
    ),
    Turn {
        number: 5,
        role: "assistant",
        content: "Age plays a part, but pain that comes with walking and leaves with rest often points to narrowed \
                  arteries",
        corrects: true,
    },
    turn(6, "user", "Sorry to interrupt. Narrowed arteries, is that what they call PAD?"),
    turn(
        7,
        "assistant",
        "Yes, peripheral artery disease. Please tell your doctor about the shorter distance soon.",
    ),
    turn(8, "user", "I'll ring the practice tomorrow. Danke – thank you! 🙂"),
];

/// What was heard of a turn that was synced in full: the frontend was not told that it was cut short.
pub(super) const LAST_HEARD: Turn = Turn {
    number: 7,
    role: "assistant",
    content: "Yes, peripheral artery disease. Please tell your doctor about the shorter distance",
    corrects: true,
};

/// What cut it short, which the frontend missed.
pub(super) const MISSED: Turn = turn(0, "user", "Sooner than my check-up in March?");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correction_follows_what_it_corrects() {
        for pair in SCRIPT.windows(2) {
            let follows = pair[1].number == pair[0].number + u32::from(!pair[1].corrects);
            assert!(follows && (!pair[1].corrects || pair[1].content != pair[0].content));
        }
    }
}
