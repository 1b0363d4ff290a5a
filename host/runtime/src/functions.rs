//! The contract's functions as a component exports them.
//!
//! Found, and their types compared with the contract's, once per component and not per instance: comparing takes longer than
//! a call. Keeps the invariant that there are no [`Functions`] but checked ones, on which [`Function::call`] relies.

use std::marker::PhantomData;

use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower, TypedFunc};
use wasmtime::{AsContextMut, Store, format_err};

use crate::component::{CONTRACT, Role, VERSION};
use crate::contract::chat::{Event, Request, Response, Usage};
use crate::contract::dialect::{EncodedEvents, EncodedResponse, ErrorReply, Head, ModelEntry, Reply};
use crate::contract::guard::{Direction, Inspection, Texts};
use crate::contract::manifest::Manifest;
use crate::contract::policy::{Attempt, Subject, Verdict};
use crate::contract::provider::{AnswerHead, DecodedFrames, DecodedResponse, Reading, Target, UpstreamRequest};
use crate::contract::router::{Candidate, Features, Plan};
use crate::contract::types::{Caller, Context, Failure, Frame, Pair};
use crate::host::HostState;

/// A function's name and types in the contract.
pub(crate) trait Signature {
    const INTERFACE: &'static str;
    const NAME: &'static str;
    type Parameters<'a>: ComponentNamedList + Lower;
    type Answer: Send + Sync + 'static;
    type Results: ComponentNamedList + Lift + Send + Sync + 'static;
    fn answer(results: Self::Results) -> Self::Answer;
}

/// Where a component has a function.
pub(crate) struct Function<S> {
    index: ComponentExportIndex,
    signature: PhantomData<fn() -> S>,
}

impl<S: Signature> Function<S> {
    fn find(pre: &InstancePre<HostState>) -> wasmtime::Result<Self> {
        let interface = format!("{CONTRACT}/{}@{VERSION}", S::INTERFACE);
        let component = pre.component();
        let index = component
            .get_export_index(None, &interface)
            .and_then(|interface| component.get_export_index(Some(&interface), S::NAME))
            .ok_or_else(|| format_err!("{interface} has no `{}`", S::NAME))?;
        Ok(Function { index, signature: PhantomData })
    }

    fn check(&self, store: &mut Store<HostState>, instance: &Instance) -> wasmtime::Result<()> {
        instance
            .get_typed_func::<S::Parameters<'_>, S::Results>(store.as_context_mut(), self.index)
            .map(|_| ())
            .map_err(|error| error.context(format!("{}.{}", S::INTERFACE, S::NAME)))
    }

    pub fn call(
        &self,
        store: &mut Store<HostState>,
        instance: &Instance,
        parameters: S::Parameters<'_>,
    ) -> wasmtime::Result<S::Answer> {
        let function = instance
            .get_func(store.as_context_mut(), self.index)
            .ok_or_else(|| format_err!("the component has no `{}`", S::NAME))?;
        // SAFETY: `Functions::checked` found these very types in this component, whose instances all have the same.
        let function: TypedFunc<S::Parameters<'_>, S::Results> = unsafe { TypedFunc::new_unchecked(function) };
        function.call(store, parameters).map(S::answer)
    }
}

macro_rules! functions {
    ($($interface:ident $Functions:ident {
        $($name:ident = $wit:literal $Signature:ident ($($parameter:ty),*) -> $answer:ty;)*
    })*) => {
        $(
            $(
                pub(crate) struct $Signature;

                impl Signature for $Signature {
                    const INTERFACE: &'static str = stringify!($interface);
                    const NAME: &'static str = $wit;
                    type Parameters<'a> = ($($parameter,)*);
                    type Answer = $answer;
                    type Results = ($answer,);
                    fn answer((answer,): Self::Results) -> $answer {
                        answer
                    }
                }
            )*

            pub(crate) struct $Functions {
                $(pub $name: Function<$Signature>,)*
            }

            impl $Functions {
                fn find(pre: &InstancePre<HostState>) -> wasmtime::Result<Self> {
                    Ok($Functions { $($name: Function::find(pre)?,)* })
                }

                fn check(&self, store: &mut Store<HostState>, instance: &Instance) -> wasmtime::Result<()> {
                    $(self.$name.check(store, instance)?;)*
                    Ok(())
                }
            }
        )*
    };
}

functions! {
    plugin PluginFunctions {
        describe = "describe" Describe() -> Manifest;
        configure = "configure" Configure(&'a str) -> Result<(), String>;
    }
    dialect DialectFunctions {
        decode_request = "decode-request" DecodeRequest(&'a Context, &'a Head, &'a str) -> Result<Request, Failure>;
        encode_response = "encode-response"
            EncodeResponse(&'a Context, &'a Reply, &'a Response) -> Result<EncodedResponse, Failure>;
        encode_events = "encode-events"
            EncodeEvents(&'a Context, &'a Reply, &'a [u8], &'a [Event], bool) -> Result<EncodedEvents, Failure>;
        encode_error = "encode-error" EncodeError(&'a Context, &'a str, &'a Failure) -> ErrorReply;
        encode_models = "encode-models" EncodeModels(&'a Context, &'a [ModelEntry]) -> String;
    }
    provider ProviderFunctions {
        encode_request = "encode-request"
            EncodeRequest(&'a Context, &'a Target, &'a Request) -> Result<UpstreamRequest, Failure>;
        decode_response = "decode-response"
            DecodeResponse(&'a Context, &'a AnswerHead, &'a str) -> Result<DecodedResponse, Failure>;
        decode_frames = "decode-frames"
            DecodeFrames(&'a Context, &'a str, &'a [u8], &'a [Frame], bool) -> Result<DecodedFrames, Failure>;
        decode_error = "decode-error" DecodeError(&'a Context, &'a AnswerHead, &'a str) -> Failure;
        meter = "meter" Meter(&'a Context, &'a str, &'a [u8], &'a [Frame], bool) -> Result<Reading, Failure>;
    }
    router RouterFunctions {
        rank = "rank"
            Rank(&'a Context, &'a Caller, &'a Features, &'a [Pair], &'a [Candidate]) -> Result<Plan, Failure>;
    }
    guard GuardFunctions {
        inspect = "inspect" Inspect(&'a Context, Direction, &'a [u8], &'a Texts) -> Result<Inspection, Failure>;
    }
    policy PolicyFunctions {
        evaluate_request = "evaluate-request"
            EvaluateRequest(&'a Context, &'a Subject, Option<&'a Request>) -> Result<Verdict, Failure>;
        evaluate_target = "evaluate-target"
            EvaluateTarget(&'a Context, &'a Subject, &'a Attempt) -> Result<Verdict, Failure>;
        evaluate_response = "evaluate-response"
            EvaluateResponse(&'a Context, &'a Subject, &'a Attempt, Option<&'a Usage>, Option<&'a Response>)
            -> Result<Verdict, Failure>;
    }
    observer ObserverFunctions {
        observe = "observe" Observe(u64, &'a [String]) -> Result<(), String>;
    }
}

/// All functions of a component.
pub(crate) struct Functions {
    pub plugin: PluginFunctions,
    pub dialect: Option<DialectFunctions>,
    pub provider: Option<ProviderFunctions>,
    pub router: Option<RouterFunctions>,
    pub guard: Option<GuardFunctions>,
    pub policy: Option<PolicyFunctions>,
    pub observer: Option<ObserverFunctions>,
}

impl Functions {
    /// Finds the functions of these roles and compares their types by means of one instance of the component.
    pub fn checked(
        pre: &InstancePre<HostState>,
        roles: &[Role],
        store: &mut Store<HostState>,
        instance: &Instance,
    ) -> wasmtime::Result<Functions> {
        macro_rules! checked {
            ($Functions:ident) => {{
                let functions = $Functions::find(pre)?;
                functions.check(store, instance)?;
                functions
            }};
        }
        macro_rules! role {
            ($Role:ident, $Functions:ident) => {
                if roles.contains(&Role::$Role) { Some(checked!($Functions)) } else { None }
            };
        }
        Ok(Functions {
            plugin: checked!(PluginFunctions),
            dialect: role!(Dialect, DialectFunctions),
            provider: role!(Provider, ProviderFunctions),
            router: role!(Router, RouterFunctions),
            guard: role!(Guard, GuardFunctions),
            policy: role!(Policy, PolicyFunctions),
            observer: role!(Observer, ObserverFunctions),
        })
    }
}
