//! Host bindings for `wit/`, made by wasmtime from the contract itself. Typed calls only: a dynamic `Val` costs 15
//! times more.
#![allow(missing_docs, reason = "generated; the contract documents itself")]
#![allow(unreachable_pub, reason = "generated")]
#![allow(missing_debug_implementations, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "tidegate:module/processor",
    imports: { default: trappable },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
    with: { "wasi:keyvalue/store.bucket": crate::host::Bucket },
});
