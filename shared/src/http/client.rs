//! HTTP clients: the one place that knows how TLS is set up.
//!
//! reqwest takes the cryptography that the process has chosen, and panics where none was; so it is chosen here.

use reqwest::ClientBuilder;

/// A client of this system's own services: in clear, past any proxy. Needs no root certificates, so that a container
/// without them can still ask after its own health.
pub fn local() -> ClientBuilder {
    builder().no_proxy().tls_certs_only([])
}

/// A client of other people's services: the system's root certificates, and proxies as the environment names them.
/// Building it fails where the system has no root certificates.
pub fn public() -> ClientBuilder {
    builder()
}

fn builder() -> ClientBuilder {
    // An error says that it was chosen before. The clients of the log and of the tables use the same one.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_can_be_built() {
        assert!(local().build().is_ok());
        assert!(public().build().is_ok());
    }
}
