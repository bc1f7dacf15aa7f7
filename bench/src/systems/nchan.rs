//! nchan: nginx with Debian's module for feeds, with a configuration of the bench's own in a directory of its own.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::error::{Doing, Error, Result};
use crate::place::Place;
use crate::process::{Program, accepts, find, free_address};

/// How it is installed where it is missing.
const INSTALL: &str = "nginx with its nchan module was not found: `apt-get install nginx libnginx-mod-nchan` (the \
                       service need not run), or leave nchan out with --systems";
/// Where Debian keeps the module, from the directory above nginx's own.
const MODULE: &str = "lib/nginx/modules/ngx_nchan_module.so";

/// A running nginx.
pub struct Nchan {
    program: Program,
    address: SocketAddr,
    _dir: TempDir,
}

/// nginx and its module.
pub struct Installed {
    nginx: PathBuf,
    module: PathBuf,
}

impl Installed {
    /// Looks on PATH and where Debian puts them.
    ///
    /// # Errors
    /// When they are not there, with how they are installed.
    pub fn find() -> Result<Self> {
        let found = find("nginx", &[]).or_else(|| find("nginx", &[PathBuf::from("/usr/sbin/nginx")]));
        let nginx = found.ok_or_else(|| Error::Missing(INSTALL.into()))?;
        let beside = nginx.parent().and_then(Path::parent).map(|above| above.join(MODULE));
        let places = beside.into_iter().chain([Path::new("/usr").join(MODULE)]);
        let module = places.into_iter().find(|path| path.is_file());
        Ok(Self { nginx, module: module.ok_or_else(|| Error::Missing(INSTALL.into()))? })
    }
}

impl Nchan {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(place: &Place, installed: &Installed, workers: u32) -> Result<Self> {
        let dir = place.fresh_dir()?;
        let address = free_address()?;
        let config = dir.path().join("nginx.conf");
        let root = fs::metadata("/proc/self").doing("read the own user")?.uid() == 0;
        fs::write(&config, configuration(&installed.module, address, workers, root))
            .doing("write nginx's configuration")?;
        let mut command = Command::new(&installed.nginx);
        command.arg("-c").arg(&config).arg("-p").arg(dir.path()).args(["-e", "stderr"]);
        let mut program = Program::start("nginx", command, dir.path(), "TERM")?;
        program.wait_until(async || accepts(address).await).await?;
        Ok(Self { program, address, _dir: dir })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn process(&self) -> (&'static str, u32) {
        ("nginx", self.program.id())
    }

    /// Fails when it has ended meanwhile.
    ///
    /// # Errors
    /// With the end of its output.
    pub fn still_runs(&mut self) -> Result<()> {
        self.program.still_runs()
    }
}

/// As nchan's own documentation recommends for many subscribers; 1,000 messages of each channel are kept.
fn configuration(module: &Path, address: SocketAddr, workers: u32, root: bool) -> String {
    // Its workers would not be allowed to enter the directory as another user.
    let user = if root { "user root;\n" } else { "" };
    format!(
        "load_module {};\n{user}daemon off;\nworker_processes {workers};\nworker_rlimit_nofile 20000;\n\
         pid nginx.pid;\nerror_log stderr error;\n\
         events {{ worker_connections 16000; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000;\n  nchan_shared_memory_size 512m;\n\
         client_body_temp_path body;\n  proxy_temp_path proxy;\n  fastcgi_temp_path fastcgi;\n\
         uwsgi_temp_path uwsgi;\n  scgi_temp_path scgi;\n\
         server {{\n    listen {address} backlog=4096;\n\
         location = /pub {{ nchan_publisher; nchan_channel_id $arg_id; nchan_message_buffer_length 1000; \
         nchan_message_timeout 10m; }}\n\
         location = /sub {{ nchan_subscriber eventsource; nchan_channel_id $arg_id; \
         nchan_subscriber_first_message oldest; }}\n  }}\n}}\n",
        module.display()
    )
}
