//! What a body is made of, besides plain JSON: forms and XML are read into JSON values, and part of a JSON body is
//! cut out byte for byte.
//!
//! *Promise:* pure functions of bytes that anyone may have sent, before a signature is known to be right: none panics,
//! none recurses with its input, and what each does and makes is bounded by its input's length and constants.
//!
//! *Failure:* what cannot be read is refused with the place and the reason; no error holds any of the content.

pub(crate) mod cut;
pub(crate) mod form;
pub(crate) mod xml;
