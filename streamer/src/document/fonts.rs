//! The fonts that documents are set in: found once for a process, read when they are used.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use shared::config::Env;
use typst_kit::fonts::{FontPath, FontStore};

/// A letter of each script that must be there; the others are set as well where a font has them.
const SCRIPTS: [(&str, char); 5] =
    [("Latin", 'a'), ("Devanagari", 'अ'), ("Arabic", 'ع'), ("Chinese", '中'), ("emoji", '😀')];

/// Where fonts are, and what was found there. Clones share it.
#[derive(Clone, Default)]
pub struct Fonts {
    folders: Vec<PathBuf>,
    found: Arc<OnceLock<FontStore>>,
}

impl fmt::Debug for Fonts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fonts").field("folders", &self.folders).finish_non_exhaustive()
    }
}

impl Fonts {
    /// Those in these folders and below; the system's where there is none.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders, found: Arc::default() }
    }

    /// Reads where they are: `FONTS_DIR`, folders with colons between.
    pub fn from_env(env: &Env<'_>) -> Self {
        let folders = env.text("FONTS_DIR").unwrap_or_default();
        Self::new(std::env::split_paths(&folders).filter(|path| !path.as_os_str().is_empty()).collect())
    }

    /// Looks for them, the first time; blocks meanwhile.
    pub(super) fn store(&self) -> &FontStore {
        self.found.get_or_init(|| {
            let mut found: Vec<_> = match self.folders[..] {
                [] => typst_kit::fonts::system().collect(),
                ref folders => folders.iter().flat_map(|folder| typst_kit::fonts::scan(folder)).collect(),
            };
            // Folders list their files in any order. Which font comes first must not depend on it.
            found.sort_by(|(a, _): &(FontPath, _), (b, _)| (&a.path, a.index).cmp(&(&b.path, b.index)));
            let mut store = FontStore::new();
            store.extend(found);
            store
        })
    }

    /// Says which scripts cannot be set.
    pub(crate) fn check(&self) {
        let missing = self.missing();
        if !missing.is_empty() {
            tracing::warn!(
                scripts = missing.join(", "),
                "no font was found for some scripts, and PDFs will show boxes in their place: install Noto fonts, or \
                 set FONTS_DIR"
            );
        }
    }

    fn missing(&self) -> Vec<&'static str> {
        let book = self.store().book();
        let has = |letter: char| {
            let mut faces = (0..).map_while(|index| book.info(index));
            faces.any(|face| face.coverage.contains(letter.into()))
        };
        SCRIPTS.into_iter().filter(|(_, letter)| !has(*letter)).map(|(script, _)| script).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_fonts_misses_every_script() {
        let fonts = Fonts::new(vec!["/nowhere".into()]);
        assert_eq!(fonts.missing(), SCRIPTS.map(|(script, _)| script));
    }

    #[test]
    fn folders_are_read_with_colons_between() {
        let lookup = |_: &str| Some("/a:/b/c:".to_owned());
        assert_eq!(Fonts::from_env(&Env::new(&lookup)).folders, [PathBuf::from("/a"), PathBuf::from("/b/c")]);
        let lookup = |_: &str| None;
        assert!(Fonts::from_env(&Env::new(&lookup)).folders.is_empty());
    }
}
