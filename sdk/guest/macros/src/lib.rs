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

/// Makes a function the module: it says what is kept of each closed window.
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
    let length = &arguments.tumbling;
    let name = &function.sig.ident;
    let field = quote! {
        ::tidegate_sdk::operators::Tumbling<<#window as ::tidegate_sdk::operators::WindowType>::Aggregate>
    };
    let init = quote! {{
        const LENGTH_NS: u64 = match ::tidegate_sdk::time::parse_duration_ns(#length) {
            ::core::option::Option::Some(length) => length,
            ::core::option::Option::None => ::core::panic!("not a duration such as 250ms, 10s, 5m, 1h or 1d"),
        };
        ::tidegate_sdk::operators::Tumbling::from_config(::core::time::Duration::from_nanos(LENGTH_NS), start)
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

/// `tumbling = "10s"`
struct WindowArguments {
    tumbling: LitStr,
}

impl Parse for WindowArguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name: Ident = input.parse()?;
        if name != "tumbling" {
            return Err(Error::new(
                name.span(),
                "unknown argument: known is tumbling = \"10s\"",
            ));
        }
        input.parse::<Token![=]>()?;
        Ok(Self {
            tumbling: input.parse()?,
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
        let unknown = parse_str::<WindowArguments>("sliding = \"10s\"").map(|_| Tokens::new());
        assert_eq!(
            refused(unknown),
            "unknown argument: known is tumbling = \"10s\""
        );
    }
}
