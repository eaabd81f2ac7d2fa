//! `tfgrid._native`: the one door between Python and the pure crates.
//!
//! Its functions take buffers, release the lock, and return buffers; they open nothing, read no clock and decide
//! nothing. The exceptions are the entry points of processes of their own, whose names end in `_main`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tfgrid_merkle::{Hash, HASH_BYTES};

/// The RFC 6962 root over concatenated 32-byte leaf hashes; ValueError on another length.
#[pyfunction]
fn merkle_root<'py>(py: Python<'py>, leaves: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    if leaves.len() % HASH_BYTES != 0 {
        return Err(PyValueError::new_err("leaf hashes have 32 bytes each"));
    }
    let root = py.allow_threads(|| {
        let hashes: Vec<&Hash> = leaves
            .chunks_exact(HASH_BYTES)
            .map(|chunk| chunk.try_into().expect("chunks are exact"))
            .collect();
        tfgrid_merkle::root(hashes.into_iter())
    });
    Ok(PyBytes::new(py, &root))
}

/// The Zero-DB server, or a tool for its files, as a command line says; the exit code.
///
/// It takes the whole process: signals are its own, and nothing else may run beside it.
#[pyfunction]
fn zdb_main(py: Python<'_>, arguments: Vec<String>) -> i32 {
    py.allow_threads(|| tfgrid_zdb_server::main(&arguments))
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(merkle_root, module)?)?;
    module.add_function(wrap_pyfunction!(zdb_main, module)?)
}
