//! The trait behind every module.

use crate::message::Batch;
use crate::outcome::{Fault, Outcome};
use crate::time::BootTime;

/// A module with full control. The operator attributes make one out of a plain function.
///
/// **An instance is disposable.** Between any two calls the host may drop it and make a new one. What must last is
/// written to [`state`](crate::state) before the call returns; it is committed with the outputs and the
/// acknowledgement of the input. **A call is a function** of state, configuration and batch.
pub trait Processor: Sized {
    /// Once per instance, first: read the configuration, migrate the state, wish to be woken.
    ///
    /// # Errors
    /// A fault refuses the update.
    fn init(start: &mut Start) -> Result<Self, Fault>;

    /// With the messages that arrived, or with none when the time to be woken has come.
    ///
    /// # Errors
    /// A fault undoes the whole call and drops the instance. A message that this module cannot use is no fault:
    /// reject it in the outcome.
    fn process(&mut self, batch: &Batch) -> Result<Outcome, Fault>;
}

/// What an instance is started with, and its first wish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Release version that wrote the state last; none without state.
    pub state_written_by: Option<String>,
    /// Set it to be called with an empty batch then. `BootTime(0)` means at once.
    pub wake_at: Option<BootTime>,
}

/// Makes a [`Processor`] the module that this crate builds. Call it once, with the type.
///
/// ```
/// # struct Silent;
/// # impl tidegate_sdk::Processor for Silent {
/// #     fn init(_: &mut tidegate_sdk::Start) -> Result<Self, tidegate_sdk::Fault> { Ok(Self) }
/// #     fn process(&mut self, _: &tidegate_sdk::Batch) -> Result<tidegate_sdk::Outcome, tidegate_sdk::Fault> {
/// #         Ok(tidegate_sdk::Outcome::default())
/// #     }
/// # }
/// tidegate_sdk::export!(Silent);
/// ```
#[macro_export]
macro_rules! export {
    ($processor:ty) => {
        const _: () = {
            const fn is_a_processor<P: $crate::Processor>() {}
            is_a_processor::<$processor>();
        };

        #[cfg(target_family = "wasm")]
        const _: () = {
            ::std::thread_local! {
                static INSTANCE: ::std::cell::RefCell<::std::option::Option<$processor>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            struct Module;

            impl $crate::bindings::exports::tidegate::module::entry::Guest for Module {
                fn init(start: $crate::abi::AbiStart) -> $crate::abi::InitResult {
                    INSTANCE.with(|instance| $crate::abi::init(instance, start))
                }

                fn process(batch: $crate::abi::AbiBatch) -> $crate::abi::ProcessResult {
                    INSTANCE.with(|instance| $crate::abi::process(instance, batch))
                }
            }

    $crate::bindings::export!(Module with_types_in $crate::bindings);
        };
    };
}
