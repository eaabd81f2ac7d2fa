//! The server without Python around it, for profilers and debuggers.

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    std::process::exit(tfgrid_zdb_server::main(&arguments));
}
