//! What `wit/` generates. Each role is a world of its own so that a plugin exports only the roles it fills; the types they
//! share are generated once, in `shared`.

/// The interfaces that only hold types, and the host's offers.
pub mod shared {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: r#"
            package portcullis:sdk;
            world shared {
                import portcullis:plugin/types@0.1.0;
                import portcullis:plugin/chat@0.1.0;
                import portcullis:plugin/log@0.1.0;
            }
        "#,
        world: "portcullis:sdk/shared",
        generate_all,
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    });
}

/// Generates one role's world. Of the shared interfaces each world must name just those it uses.
macro_rules! role {
    ($(#[$doc:meta])* $name:ident, $world:literal, { $($interface:literal: $module:ident),* }) => {
        $(#[$doc])*
        pub mod $name {
            wit_bindgen::generate!({
                path: "../../wit",
                world: $world,
                pub_export_macro: true,
                additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
                with: { $($interface: crate::bindings::shared::portcullis::plugin::$module),* },
            });
        }
    };
}

role!(base, "base", { "portcullis:plugin/types@0.1.0": types, "portcullis:plugin/log@0.1.0": log });
role!(dialect, "dialect-role", { "portcullis:plugin/types@0.1.0": types, "portcullis:plugin/chat@0.1.0": chat });
role!(provider, "provider-role", { "portcullis:plugin/types@0.1.0": types, "portcullis:plugin/chat@0.1.0": chat });
role!(router, "router-role", { "portcullis:plugin/types@0.1.0": types });
role!(guard, "guard-role", { "portcullis:plugin/types@0.1.0": types });
role!(policy, "policy-role", { "portcullis:plugin/types@0.1.0": types, "portcullis:plugin/chat@0.1.0": chat });
role!(observer, "observer-role", { "portcullis:plugin/types@0.1.0": types });
