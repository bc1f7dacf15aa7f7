//! A real nginx in front of a server.

use tempfile::TempDir;

use crate::guarded::Guarded;
use crate::{Client, eventually, free_port, tool};

/// A running nginx; gone when dropped.
#[derive(Debug)]
pub struct Nginx {
    /// A caller through it.
    pub client: Client,
    _directory: TempDir,
    _server: Guarded,
}

impl Nginx {
    /// Starts one that passes everything on to `base`, as it does by default but for `directives`.
    pub async fn before(base: &str, directives: &str) -> Self {
        let directory = TempDir::with_prefix("turnlog-nginx-").unwrap();
        let (place, port) = (directory.path().to_str().unwrap(), free_port());
        let configuration = format!(
            "daemon off; master_process off; pid {place}/pid; error_log {place}/log;
            events {{}}
            http {{
                access_log off;
                client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
                fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
                server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {base}; {directives} }} }}
            }}"
        );
        std::fs::write(directory.path().join("nginx.conf"), configuration).unwrap();
        let text = |path: &str| path.to_owned();
        let command = [
            text(tool("nginx").to_str().unwrap()),
            text("-p"),
            text(place),
            text("-e"),
            format!("{place}/log"),
            text("-c"),
            format!("{place}/nginx.conf"),
        ];
        let server = Guarded::start(&directory.path().join("log"), None, &command, &[]);
        eventually("nginx listens", || async {
            assert!(server.is_alive(), "{}", std::fs::read_to_string(directory.path().join("log")).unwrap());
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        let client = Client::new(&format!("http://127.0.0.1:{port}"));
        Self { client, _directory: directory, _server: server }
    }
}
