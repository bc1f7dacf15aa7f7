//! Open files: every connection is one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Takes as many as the system lets this process have: the usual soft limit (1,024) is less than the feeds of one streamer.
pub(crate) fn take_all() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(hard)
    });
    match raised {
        Ok(files) => tracing::debug!(files, "files that may be open"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}
