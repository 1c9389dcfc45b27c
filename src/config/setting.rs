//! What is known of a setting besides its value: its meaning, what may be given for it.
//!
//! Owns the two macros with which the configuration is declared. What stands there once, a line a
//! setting, becomes the struct's field with its documentation, its default, its check, and its comment
//! in the printed TOML. Knows no setting by name.

use std::fmt;

use serde::Serialize;

use crate::env::EnvArgs;

/// A setting's name, meaning and limits.
#[derive(Debug)]
pub(super) struct Setting {
    /// Its key in its table.
    pub name: &'static str,
    /// Its documentation, a line each.
    pub meaning: &'static [&'static str],
    pub allowed: Allowed,
}

/// What may be given for a setting.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed {
    /// Whole numbers from the first to the second, and their unit.
    Integers(u64, u64, &'static str),
    /// Finite numbers from the first to the second, and their unit.
    Reals(f64, f64, &'static str),
    /// As many whole numbers as the first pair says, each within the second, and their unit.
    List((u64, u64), (u64, u64), &'static str),
    /// Any number of finite numbers, each from the first to the second.
    RealList(f64, f64),
    /// One of these words, each with its meaning.
    Words(&'static [(&'static str, &'static str)]),
    /// What only another module can judge, in words.
    Text(&'static str),
    /// true or false.
    Flag,
    /// A table of further settings.
    Table,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Allowed::Integers(low, high, _) => write!(f, "{low} to {high}"),
            Allowed::Reals(low, high, _) => write!(f, "{low:?} to {high:?}"),
            Allowed::List((fewest, most), (low, high), _) => {
                write!(f, "a list of {fewest} to {most} numbers, each {low} to {high}")
            }
            Allowed::RealList(low, high) => {
                write!(f, "a list of numbers, each {low:?} to {high:?}")
            }
            Allowed::Words(words) => {
                write!(f, "{}", words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", "))
            }
            Allowed::Text(text) => f.write_str(text),
            Allowed::Flag => f.write_str("true or false"),
            Allowed::Table => f.write_str("a table"),
        }
    }
}

impl Allowed {
    /// What the numbers count or measure; empty where they have no unit.
    pub(super) fn unit(&self) -> &'static str {
        match self {
            Allowed::Integers(.., unit) | Allowed::Reals(.., unit) | Allowed::List(.., unit) => {
                unit
            }
            _ => "",
        }
    }
}

/// The value of one setting.
pub(super) trait Value {
    /// As it stands in a TOML file.
    fn to_toml(&self) -> String;

    /// Whether it is within the limits. Words and texts are judged where they are read.
    fn is_within(&self, allowed: &Allowed) -> bool;
}

/// One setting, or one table of settings, on a walk through a configuration.
pub(super) struct Visited<'a> {
    /// Dotted name from the top.
    pub path: String,
    pub setting: &'static Setting,
    /// `None` for a table, whose settings follow.
    pub value: Option<&'a dyn Value>,
}

/// What a walk through a configuration goes through: settings and tables of settings.
pub(super) trait Visit {
    /// Shows this and all below it to the visitor, in the order of declaration.
    fn visit<'a>(
        &'a self,
        path: String,
        setting: &'static Setting,
        visitor: &mut dyn FnMut(Visited<'a>),
    );
}

/// A table of settings.
pub(super) trait Table {
    /// Shows every setting of this table, which is at `path`, to the visitor.
    fn visit_settings<'a>(&'a self, path: &str, visitor: &mut dyn FnMut(Visited<'a>));
}

impl<V: Value> Visit for V {
    fn visit<'a>(
        &'a self,
        path: String,
        setting: &'static Setting,
        visitor: &mut dyn FnMut(Visited<'a>),
    ) {
        visitor(Visited { path, setting, value: Some(self) });
    }
}

/// A value as TOML writes it on one line.
pub(super) fn inline_toml(value: &impl Serialize) -> String {
    let mut text = String::new();
    value
        .serialize(toml::ser::ValueSerializer::new(&mut text))
        .expect("numbers, words and lists of them are TOML values");
    text
}

/// Declares a table of settings: the struct, its defaults, and the walk through it. This module has to be
/// in scope as `setting`.
///
/// One line a setting: `name: Type = default, what is allowed;` under its documentation. Simple settings
/// stand before tables, as TOML needs them. After `besides` may follow fields that are no settings:
/// they are neither read nor written.
macro_rules! settings {
    (
        $(#[doc = $table_doc:literal])+
        pub struct $Table:ident {
            $($(#[doc = $doc:literal])+ $name:ident: $Type:ty = $default:expr, $allowed:expr;)+
            $(besides { $($(#[doc = $other_doc:literal])+ $other:ident: $Other:ty;)+ })?
        }
    ) => {
        $(#[doc = $table_doc])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields, expecting = "a table of settings, such as [NAME]")]
        pub struct $Table {
            $($(#[doc = $doc])+ pub $name: $Type,)+
            $($($(#[doc = $other_doc])+ #[serde(skip)] pub $other: $Other,)+)?
        }

        impl Default for $Table {
            fn default() -> Self {
                $Table { $($name: $default,)+ $($($other: <$Other>::default(),)+)? }
            }
        }

        impl setting::Table for $Table {
            fn visit_settings<'a>(
                &'a self,
                path: &str,
                visitor: &mut dyn FnMut(setting::Visited<'a>),
            ) {
                let below = |name: &str| match path {
                    "" => name.to_owned(),
                    path => format!("{path}.{name}"),
                };
                $({
                    let setting = const {
                        &setting::Setting {
                            name: stringify!($name),
                            meaning: &[$($doc),+],
                            allowed: $allowed,
                        }
                    };
                    setting::Visit::visit(&self.$name, below(setting.name), setting, visitor);
                })+
            }
        }

        impl setting::Visit for $Table {
            fn visit<'a>(
                &'a self,
                path: String,
                setting: &'static setting::Setting,
                visitor: &mut dyn FnMut(setting::Visited<'a>),
            ) {
                visitor(setting::Visited { path: path.clone(), setting, value: None });
                setting::Table::visit_settings(self, &path, visitor);
            }
        }
    };
}

/// Declares a setting that is one of several words: the enum, and the words with their meanings.
macro_rules! words {
    (
        $(#[doc = $enum_doc:literal])+
        pub enum $Words:ident {
            $($(#[doc = $doc:literal])+ $Variant:ident = $word:literal,)+
        }
    ) => {
        $(#[doc = $enum_doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $Words {
            $($(#[doc = $doc])+ #[serde(rename = $word)] $Variant,)+
        }

        impl $Words {
            /// Every word with its meaning.
            pub(super) const WORDS: &'static [(&'static str, &'static str)] =
                &[$(($word, concat!($($doc),+)),)+];
        }

        impl setting::Value for $Words {
            fn to_toml(&self) -> String {
                setting::inline_toml(self)
            }

            fn is_within(&self, _: &setting::Allowed) -> bool {
                true
            }
        }
    };
}

pub(super) use {settings, words};

impl Value for bool {
    fn to_toml(&self) -> String {
        inline_toml(self)
    }

    fn is_within(&self, _: &Allowed) -> bool {
        true
    }
}

impl Value for String {
    fn to_toml(&self) -> String {
        inline_toml(self)
    }

    fn is_within(&self, _: &Allowed) -> bool {
        true
    }
}

impl Value for EnvArgs {
    fn to_toml(&self) -> String {
        self.to_string()
    }

    fn is_within(&self, _: &Allowed) -> bool {
        true
    }
}

impl Value for u64 {
    /// Not TOML's own writer: its integers are signed, and a number above them has yet to be refused.
    fn to_toml(&self) -> String {
        self.to_string()
    }

    fn is_within(&self, allowed: &Allowed) -> bool {
        matches!(allowed, Allowed::Integers(low, high, _) if (low..=high).contains(&self))
    }
}

impl Value for usize {
    fn to_toml(&self) -> String {
        self.to_string()
    }

    fn is_within(&self, allowed: &Allowed) -> bool {
        (*self as u64).is_within(allowed)
    }
}

impl Value for f64 {
    fn to_toml(&self) -> String {
        inline_toml(self)
    }

    fn is_within(&self, allowed: &Allowed) -> bool {
        matches!(allowed, Allowed::Reals(low, high, _) if (low..=high).contains(&self))
    }
}

impl Value for f32 {
    fn to_toml(&self) -> String {
        inline_toml(self)
    }

    /// The limits are rounded to f32 too, so that they themselves are within.
    fn is_within(&self, allowed: &Allowed) -> bool {
        let (low, high) = match allowed {
            Allowed::Reals(low, high, _) => (*low as f32, *high as f32),
            _ => return false,
        };
        (low..=high).contains(self)
    }
}

impl Value for [f32; 2] {
    fn to_toml(&self) -> String {
        inline_toml(self)
    }

    fn is_within(&self, allowed: &Allowed) -> bool {
        self.iter().all(|number| number.is_within(allowed))
    }
}

impl Value for Vec<String> {
    fn to_toml(&self) -> String {
        inline_toml(self)
    }

    fn is_within(&self, _: &Allowed) -> bool {
        true
    }
}

impl Value for Vec<f32> {
    fn to_toml(&self) -> String {
        inline_toml(self)
    }

    fn is_within(&self, allowed: &Allowed) -> bool {
        let Allowed::RealList(low, high) = *allowed else { return false };
        self.iter().all(|number| number.is_within(&Allowed::Reals(low, high, "")))
    }
}

impl Value for Vec<usize> {
    fn to_toml(&self) -> String {
        inline_toml(self)
    }

    fn is_within(&self, allowed: &Allowed) -> bool {
        let Allowed::List((fewest, most), (low, high), _) = allowed else { return false };
        (*fewest..=*most).contains(&(self.len() as u64))
            && self.iter().all(|number| (*low..=*high).contains(&(*number as u64)))
    }
}
