//! Sets documents as PDF: few at a time, away from what answers requests, and the same bytes for the same document.

use std::sync::{Arc, LazyLock};

use shared::problem::{Kind, Problem};
use tokio::sync::Semaphore;
use typst::diag::{FileError, FileResult, SourceDiagnostic};
use typst::foundations::{Bytes, Datetime, Duration, Smart};
use typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt, World};
use typst_layout::PagedDocument;
use typst_pdf::PdfOptions;

use super::pages::Pages;
use super::{Document, Fonts};
use crate::limits::{PDF_PAGES, PDF_WAIT, PDFS_AT_ONCE};

/// Sets documents, one after another. Clones share the turns and the fonts.
#[derive(Debug, Clone)]
pub(crate) struct Typesetter {
    fonts: Fonts,
    turns: Arc<Semaphore>,
}

impl Typesetter {
    pub(crate) fn new(fonts: Fonts) -> Self {
        Self { fonts, turns: Arc::new(Semaphore::new(PDFS_AT_ONCE)) }
    }

    /// The PDF of a document.
    ///
    /// # Errors
    /// 413 where it is too long, 503 where too many are waiting for theirs.
    pub(super) async fn pdf(&self, document: &Document) -> Result<Vec<u8>, Problem> {
        let pages = Pages::of(document);
        if pages.too_long() {
            let detail = format!(
                "This conversation would take about {} pages, and a PDF has at most {PDF_PAGES}; ask for format=json, \
                 csv or txt.",
                pages.count(),
            );
            return Err(Problem::new(Kind::TooLarge, detail));
        }
        let turn = tokio::time::timeout(PDF_WAIT, Arc::clone(&self.turns).acquire_owned()).await;
        let busy =
            |cause| Problem::unavailable("Too many PDFs are being made; try again in a moment.", cause);
        let turn = turn.map_err(|_| busy("no turn in time"))?.map_err(Problem::internal)?;
        let fonts = self.fonts.clone();
        let setting = tokio::task::spawn_blocking(move || {
            // Kept to the end, also when nobody waits for the PDF any more.
            let _turn = turn;
            set(&pages, fonts)
        });
        setting.await.map_err(Problem::internal)?.map_err(Problem::internal)
    }
}

/// What keeps a document from being set: nothing that is in it, but a fault in the template.
#[derive(Debug, thiserror::Error)]
enum SetError {
    #[error("the document's data could not be written: {0}")]
    Data(#[from] serde_json::Error),
    #[error("the document could not be set: {0}")]
    Template(String),
}

impl From<typst::ecow::EcoVec<SourceDiagnostic>> for SetError {
    fn from(errors: typst::ecow::EcoVec<SourceDiagnostic>) -> Self {
        Self::Template(errors.first().map(|error| error.message.to_string()).unwrap_or_default())
    }
}

fn set(pages: &Pages, fonts: Fonts) -> Result<Vec<u8>, SetError> {
    let options = PdfOptions {
        ident: Smart::Custom(format!("{} {}", pages.title, pages.as_of)),
        creator: Smart::Custom(Some("turnlog".into())),
        ..PdfOptions::default()
    };
    let desk = Desk { data: Bytes::new(serde_json::to_vec(pages)?), fonts };
    let set = typst::compile::<PagedDocument>(&desk).output;
    // What was remembered to set the next document faster is as large as this one.
    let pdf = set.and_then(|document| typst_pdf::pdf(&document, &options));
    typst::comemo::evict(0);
    Ok(pdf?)
}

/// All that the template can reach: itself, the data of one document, and fonts. No file, no network, no clock.
struct Desk {
    data: Bytes,
    fonts: Fonts,
}

static LIBRARY: LazyLock<LazyHash<Library>> = LazyLock::new(|| LazyHash::new(Library::default()));
static TEMPLATE: LazyLock<Source> =
    LazyLock::new(|| Source::new(file("conversation.typ"), include_str!("conversation.typ").to_owned()));
static DATA: LazyLock<FileId> = LazyLock::new(|| file("conversation.json"));

fn file(name: &str) -> FileId {
    let path = VirtualPath::new(name).expect("a plain file name is a path");
    RootedPath::new(VirtualRoot::Project, path).intern()
}

impl World for Desk {
    fn library(&self) -> &LazyHash<Library> {
        &LIBRARY
    }

    fn book(&self) -> &LazyHash<FontBook> {
        self.fonts.store().book()
    }

    fn main(&self) -> FileId {
        TEMPLATE.id()
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        if id == TEMPLATE.id() { Ok(TEMPLATE.clone()) } else { Err(FileError::AccessDenied) }
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        if id == *DATA { Ok(self.data.clone()) } else { Err(FileError::AccessDenied) }
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.fonts.store().font(index)
    }

    fn today(&self, _: Option<Duration>) -> Option<Datetime> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::document;
    use super::*;

    fn typesetter() -> Typesetter {
        Typesetter::new(Fonts::new(vec!["/nowhere".into()]))
    }

    #[tokio::test]
    async fn a_pdf_is_made_without_any_font_and_whatever_was_said() {
        let markup = "#panic() $x$ *b* _i_ `c` <l> @r \\ [#read(\"/etc/passwd\")] ] } \u{0}\u{7} #{ \"";
        let document = document(&["Hello", markup, "", "\n", "مرحبا 112", "\u{202e}\u{2066}x"]);
        let pdf = typesetter().pdf(&document).await.unwrap();
        assert!(pdf.starts_with(b"%PDF-"));
        assert_eq!(typesetter().pdf(&document).await.unwrap(), pdf);
    }

    #[tokio::test]
    async fn what_is_too_long_is_refused_before_it_is_set() {
        let long = "word ".repeat(1_000_000);
        let problem = typesetter().pdf(&document(&[&long])).await.unwrap_err();
        assert_eq!(problem.kind, Kind::TooLarge);
        assert!(problem.detail.contains("format=json"), "{}", problem.detail);
    }
}
