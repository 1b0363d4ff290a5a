//! What `wit/` generates for the host. A role's world is bound by itself; the types they share are those of `shared`, so what
//! one plugin decoded goes to another by reference.

/// The interfaces that only hold types, and the host's offers.
pub mod shared {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: r#"
            package portcullis:host;
            world shared {
                import portcullis:plugin/types@0.1.0;
                import portcullis:plugin/chat@0.1.0;
                import portcullis:plugin/log@0.1.0;
            }
        "#,
        world: "portcullis:host/shared",
        additional_derives: [PartialEq, Clone, serde::Serialize, serde::Deserialize],
    });
}

/// Binds one role's world. Of the shared interfaces each world must name just those it uses.
macro_rules! role {
    ($name:ident, $world:literal, { $($interface:literal: $module:ident),* }) => {
        pub mod $name {
            wasmtime::component::bindgen!({
                path: "../../wit",
                world: $world,
                additional_derives: [PartialEq, Clone, serde::Serialize, serde::Deserialize],
                with: { $($interface: crate::bindings::shared::portcullis::plugin::$module),* },
            });
        }
    };
}

role!(base, "base", { "portcullis:plugin/types": types, "portcullis:plugin/log": log });
role!(dialect, "dialect-role", { "portcullis:plugin/types": types, "portcullis:plugin/chat": chat });
role!(provider, "provider-role", { "portcullis:plugin/types": types, "portcullis:plugin/chat": chat });
role!(router, "router-role", { "portcullis:plugin/types": types });
role!(guard, "guard-role", { "portcullis:plugin/types": types });
role!(policy, "policy-role", { "portcullis:plugin/types": types, "portcullis:plugin/chat": chat });
role!(observer, "observer-role", {});
