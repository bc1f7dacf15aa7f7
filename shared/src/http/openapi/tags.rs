//! Who an endpoint is for.

use utoipa::openapi::tag::{Tag, TagBuilder};

/// Frontends, on behalf of a participant.
pub const PARTICIPANTS: &str = "participants";
/// Backends with an API key.
pub const SERVICES: &str = "services";
/// Vendors that send webhooks.
pub const VENDORS: &str = "vendors";
/// Whoever reads conversations.
pub const READERS: &str = "readers";
/// Probes and dashboards.
pub const OPERATORS: &str = "operators";
/// Whoever writes a client.
pub const DEVELOPERS: &str = "developers";

pub(super) fn all() -> Vec<Tag> {
    let tags = [
        (PARTICIPANTS, "Frontends, on behalf of a participant."),
        (SERVICES, "Backends with an API key."),
        (VENDORS, "Vendors that send webhooks."),
        (READERS, "Whoever reads conversations, as snapshots and live."),
        (OPERATORS, "Probes and dashboards."),
        (DEVELOPERS, "This document and the pages that show it."),
    ];
    tags.into_iter()
        .map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build())
        .collect()
}
