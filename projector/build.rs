//! The migrations are compiled in, so a new one has to build the crate again.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
