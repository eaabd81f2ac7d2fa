//! `tfgrid._native`: the one door between Python and the pure crates.
//!
//! It takes buffers, releases the lock, and returns buffers; it opens nothing, reads no clock and decides
//! nothing.

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

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(merkle_root, module)?)
}
