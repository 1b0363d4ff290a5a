//! From a plugin type to a component's exports.

use std::marker::PhantomData;

use crate::bindings::base::exports::portcullis::plugin::plugin::Guest;
use crate::manifest::Manifest;
use crate::{Plugin, logging, plugin};

/// The one configured value of a plugin type within an instance. Implemented by [`export!`](macro@crate::export).
pub trait Instance: Plugin {
    /// The plugin as last configured; with an empty configuration if it never was.
    fn instance() -> &'static Self;

    /// Keeps a configured plugin. The first one stays: the host configures an instance once.
    fn keep(plugin: Self);
}

/// Turns a plugin's traits into the contract's exports.
pub struct Exported<P>(PhantomData<P>);

impl<P: Instance> Guest for Exported<P> {
    fn describe() -> Manifest {
        logging::report_panics();
        P::manifest()
    }

    fn configure(configuration: String) -> Result<(), String> {
        logging::report_panics();
        plugin::configured::<P>(&configuration).map(P::keep)?;
        #[cfg(all(target_family = "wasm", target_os = "unknown"))]
        crate::allocator::settle();
        Ok(())
    }
}

/// Exports a plugin: `portcullis_plugin::export!(MyPlugin: dialect, provider);`
#[macro_export]
macro_rules! export {
    ($plugin:ident: $($role:ident),+ $(,)?) => {
        const _: () = {
            // One instance, one configuration.
            #[cfg(target_arch = "wasm32")]
            static KEPT: ::std::sync::OnceLock<$plugin> = ::std::sync::OnceLock::new();

            // Native tests configure a plugin many times; each test thread has its own.
            #[cfg(not(target_arch = "wasm32"))]
            ::std::thread_local! {
                static KEPT: ::std::cell::Cell<::std::option::Option<&'static $plugin>> =
                    const { ::std::cell::Cell::new(None) };
            }

            impl $crate::Instance for $plugin {
                #[cfg(target_arch = "wasm32")]
                fn instance() -> &'static Self {
                    KEPT.get_or_init($crate::__unconfigured)
                }

                #[cfg(target_arch = "wasm32")]
                fn keep(plugin: Self) {
                    let _ = KEPT.set(plugin);
                }

                #[cfg(not(target_arch = "wasm32"))]
                fn instance() -> &'static Self {
                    KEPT.get().unwrap_or_else(|| ::std::boxed::Box::leak(::std::boxed::Box::new($crate::__unconfigured())))
                }

                #[cfg(not(target_arch = "wasm32"))]
                fn keep(plugin: Self) {
                    KEPT.set(Some(::std::boxed::Box::leak(::std::boxed::Box::new(plugin))));
                }
            }
        };

        #[cfg(target_arch = "wasm32")]
        type __PortcullisPlugin = $crate::Exported<$plugin>;
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::base::export!(__PortcullisPlugin with_types_in $crate::bindings::base);
        $(
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::$role::export!(__PortcullisPlugin with_types_in $crate::bindings::$role);
        )+
    };
}

/// The plugin from an empty configuration, for an instance that was never configured.
#[doc(hidden)]
pub fn __unconfigured<P: Plugin>() -> P {
    plugin::configured("{}").unwrap_or_else(|error| panic!("not configured: {error}"))
}
