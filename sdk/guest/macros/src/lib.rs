//! The operator attributes of `tidegate-sdk`; see there for how to use them.
//!
//! Each leaves the function as it is and adds a type of the same name beside it (types and functions have separate
//! names), which is the [`Processor`] that calls it: `testing::Host::<to_fahrenheit>` runs it natively, and `export!`
//! makes it the module in the guest.
//!
//! [`Processor`]: https://docs.rs/tidegate-sdk

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, ItemFn, LitStr, Result, Token, Type, parse_macro_input};

/// Makes a function the module: one result, or none, for each message.
#[proc_macro_attribute]
pub fn map(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    stateless(&arguments.into(), &function, &quote!(Map))
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

/// Makes a function the module: it says which messages go on.
#[proc_macro_attribute]
pub fn filter(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    stateless(&arguments.into(), &function, &quote!(Filter))
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

/// Makes a function the module: it says what is kept of each window. Arguments: `tumbling = "10s"`, `hopping = "1m", every
/// = "10s"`, or `sliding = "1m", every = "1s"`.
#[proc_macro_attribute]
pub fn window(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as WindowArguments);
    let function = parse_macro_input!(item as ItemFn);
    windowed(&arguments, &function)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

/// A map or a filter: `operator` is its type in `tidegate_sdk::operators`.
fn stateless(arguments: &Tokens, function: &ItemFn, operator: &Tokens) -> Result<Tokens> {
    if !arguments.is_empty() {
        return Err(Error::new(arguments.span(), "takes no arguments"));
    }
    only_argument(function)?;
    let name = &function.sig.ident;
    let field = quote!(::tidegate_sdk::operators::#operator);
    let init = quote!(::tidegate_sdk::operators::#operator::from_config());
    let process = quote!(::core::result::Result::Ok(self.operator.process(batch, #name)));
    Ok(module(function, &field, &init, &process))
}

fn windowed(arguments: &WindowArguments, function: &ItemFn) -> Result<Tokens> {
    let Type::Reference(argument) = only_argument(function)? else {
        return Err(Error::new(
            function.sig.inputs.span(),
            "a window function takes one &Window<…>",
        ));
    };
    let window = &argument.elem;
    let shape = arguments.shape();
    let name = &function.sig.ident;
    let field = quote! {
        ::tidegate_sdk::operators::Windows<<#window as ::tidegate_sdk::operators::WindowType>::Aggregate>
    };
    let init = quote! {{
        const SHAPE: ::tidegate_sdk::operators::Shape = match #shape {
            ::core::result::Result::Ok(shape) => shape,
            ::core::result::Result::Err(problem) => ::core::panic!("{}", problem),
        };
        ::tidegate_sdk::operators::Windows::from_config(SHAPE, start)
    }};
    let process = quote!(self.operator.process(batch, #name));
    Ok(module(function, &field, &init, &process))
}

/// The function, the type beside it, and the export of that type.
fn module(function: &ItemFn, field: &Tokens, init: &Tokens, process: &Tokens) -> Tokens {
    let name = &function.sig.ident;
    let visibility = &function.vis;
    let doc = format!("The module that calls [`{name}()`].");
    quote! {
        #function

        #[doc = #doc]
        #[allow(non_camel_case_types, reason = "named like its function")]
        #[derive(Debug)]
        #visibility struct #name {
            operator: #field,
        }

        impl ::tidegate_sdk::Processor for #name {
            #[allow(unused_variables, reason = "not every operator looks at how it is started")]
            fn init(
                start: &mut ::tidegate_sdk::Start,
            ) -> ::core::result::Result<Self, ::tidegate_sdk::Fault> {
                ::core::result::Result::Ok(Self { operator: #init? })
            }

            fn process(
                &mut self,
                batch: &::tidegate_sdk::Batch,
            ) -> ::core::result::Result<::tidegate_sdk::Outcome, ::tidegate_sdk::Fault> {
                #process
            }
        }

        ::tidegate_sdk::export!(#name);
    }
}

fn only_argument(function: &ItemFn) -> Result<&Type> {
    match function.sig.inputs.first() {
        Some(FnArg::Typed(argument)) if function.sig.inputs.len() == 1 => Ok(&argument.ty),
        _ => Err(Error::new(
            function.sig.span(),
            "an operator is a function of one argument",
        )),
    }
}

/// `tumbling = "10s"`, or `hopping` or `sliding` with a second argument `every`.
struct WindowArguments {
    kind: Ident,
    length: LitStr,
    every: Option<LitStr>,
}

impl WindowArguments {
    /// An expression for the shape, or for why there is none.
    fn shape(&self) -> Tokens {
        let Self {
            kind,
            length,
            every,
        } = self;
        let every = every.iter();
        quote!(::tidegate_sdk::operators::Shape::#kind(#length #(, #every)*))
    }
}

impl Parse for WindowArguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        const KNOWN: &str = "known are tumbling = \"10s\", hopping = \"1m\", every = \"10s\", and sliding = \"1m\", every = \"1s\"";
        let kind: Ident = input.parse()?;
        let overlaps = kind == "hopping" || kind == "sliding";
        if !overlaps && kind != "tumbling" {
            return Err(Error::new(
                kind.span(),
                format!("unknown argument: {KNOWN}"),
            ));
        }
        input.parse::<Token![=]>()?;
        let length = input.parse()?;
        let mut every = None;
        if overlaps {
            input.parse::<Token![,]>()?;
            let name: Ident = input.parse()?;
            if name != "every" {
                return Err(Error::new(
                    name.span(),
                    format!("unknown argument: {KNOWN}"),
                ));
            }
            input.parse::<Token![=]>()?;
            every = Some(input.parse()?);
        }
        input.parse::<Option<Token![,]>>()?;
        Ok(Self {
            kind,
            length,
            every,
        })
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_str;

    use super::*;

    fn refused(result: Result<Tokens>) -> String {
        result.map_or_else(
            |error| error.to_string(),
            |tokens| format!("accepted: {tokens}"),
        )
    }

    #[test]
    fn the_function_stays_as_it_is_beside_its_module() {
        let function: ItemFn =
            parse_str("pub fn warm(m: &Message<f64>) -> bool { m.body > 20.0 }").unwrap();
        let tokens = stateless(&Tokens::new(), &function, &quote!(Filter)).unwrap();
        let file: syn::File = syn::parse2(tokens).unwrap();
        assert!(matches!(file.items.first(), Some(syn::Item::Fn(first)) if *first == function));
        assert!(
            matches!(file.items.get(1), Some(syn::Item::Struct(module)) if module.ident == "warm")
        );
    }

    #[test]
    fn what_is_no_operator_is_refused_with_the_reason() {
        let two: ItemFn = parse_str("fn f(a: u8, b: u8) {}").unwrap();
        let by_value: ItemFn = parse_str("fn f(window: Window<Count>) -> Values {}").unwrap();
        let arguments: WindowArguments = parse_str("tumbling = \"10s\"").unwrap();
        let operator = "an operator is a function of one argument";
        assert_eq!(
            refused(stateless(&Tokens::new(), &two, &quote!(Map))),
            operator
        );
        assert_eq!(
            refused(stateless(&quote!(fast), &by_value, &quote!(Map))),
            "takes no arguments"
        );
        assert_eq!(
            refused(windowed(&arguments, &by_value)),
            "a window function takes one &Window<…>"
        );
        for arguments in [
            "session = \"10s\"",
            "sliding = \"1m\", by = \"1s\"",
            "hopping = \"1m\"",
            "tumbling = \"1m\", every = \"1s\"",
        ] {
            assert!(
                parse_str::<WindowArguments>(arguments).is_err(),
                "{arguments}"
            );
        }
    }

    #[test]
    fn the_arguments_of_a_window_name_its_shape() {
        for (arguments, shape) in [
            ("tumbling = \"10s\"", quote!(Shape::tumbling("10s"))),
            (
                "hopping = \"1m\", every = \"10s\",",
                quote!(Shape::hopping("1m", "10s")),
            ),
            (
                "sliding = \"1m\", every = \"1s\"",
                quote!(Shape::sliding("1m", "1s")),
            ),
        ] {
            let arguments: WindowArguments = parse_str(arguments).unwrap();
            let expected = quote!(::tidegate_sdk::operators::#shape);
            assert_eq!(arguments.shape().to_string(), expected.to_string());
        }
    }
}
