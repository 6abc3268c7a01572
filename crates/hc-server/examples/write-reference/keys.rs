//! The keys of the configuration, read from the source code: names, types and words come from the
//! structs that the program itself reads the file into.

use std::collections::BTreeMap;
use std::path::Path;

use syn::{Attribute, Expr, Field, Fields, GenericArgument, Item, Lit, Meta, PathArguments, Type};

/// A section of the file.
pub(crate) struct Section {
    /// `source`, or `sink` for `[[sink]]`.
    pub(crate) name: String,
    /// Whether it may come several times.
    pub(crate) is_list: bool,
    pub(crate) doc: String,
    pub(crate) keys: Vec<Key>,
}

pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) doc: String,
}

/// What the source code says of a type.
enum Declared {
    Struct {
        doc: String,
        fields: Vec<Field>,
    },
    /// Its words, each with what it means.
    Enum(Vec<(String, String)>),
}

type Types = BTreeMap<String, Declared>;

/// All sections, in the order of the program.
pub(crate) fn sections() -> Vec<Section> {
    let types = types();
    let Some(Declared::Struct { fields, .. }) = types.get("Config") else { panic!("no Config") };
    let section = |field: &Field| {
        let name = serde_of(&field.attrs, "rename").unwrap_or_else(|| name_of(field));
        let (is_list, of) = match inside(&field.ty, "Vec") {
            Some(inner) => (true, last(inner)),
            None => (false, last(&field.ty)),
        };
        let Some(Declared::Struct { doc, fields }) = types.get(&of) else { panic!("no {of}") };
        let keys = fields.iter().map(|field| key(field, &types)).collect();
        Section { name, is_list, doc: without_heading(doc), keys }
    };
    fields.iter().map(section).collect()
}

fn types() -> Types {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folder = source.join("config").read_dir().expect("src/config");
    let files = folder.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file());
    let mut types = Types::new();
    for path in files.chain([source.join("config.rs")]) {
        let text = std::fs::read_to_string(&path).expect("a source file");
        for item in syn::parse_file(&text).expect("Rust").items {
            match item {
                Item::Struct(item) => {
                    let Fields::Named(fields) = item.fields else { continue };
                    let fields = fields.named.into_iter().collect();
                    types.insert(item.ident.to_string(), Declared::Struct { doc: doc(&item.attrs), fields });
                }
                Item::Enum(item) => {
                    let case = serde_of(&item.attrs, "rename_all").unwrap_or_default();
                    let words = item
                        .variants
                        .iter()
                        .map(|variant| (cased(&variant.ident.to_string(), &case), doc(&variant.attrs)));
                    types.insert(item.ident.to_string(), Declared::Enum(words.collect()));
                }
                _ => {}
            }
        }
    }
    types
}

fn key(field: &Field, types: &Types) -> Key {
    let with = serde_of(&field.attrs, "deserialize_with").unwrap_or_default();
    let mut doc = doc(&field.attrs);
    let plain = inside(&field.ty, "Option").unwrap_or(&field.ty);
    let item = inside(plain, "Vec").unwrap_or(plain);
    if let Some(Declared::Enum(words)) = types.get(&last(item)) {
        for (word, meaning) in words {
            doc.push_str(&format!(" `\"{word}\"`: {meaning}"));
        }
    }
    Key {
        name: serde_of(&field.attrs, "rename").unwrap_or_else(|| name_of(field)),
        kind: kind(plain, &with, types),
        doc,
    }
}

fn kind(of: &Type, with: &str, types: &Types) -> String {
    if let Some(item) = inside(of, "Vec") {
        return format!("list, each {}", kind(item, with, types));
    }
    let name = last(of);
    if let Some(Declared::Enum(words)) = types.get(&name) {
        let words: Vec<String> = words.iter().map(|(word, _)| format!("`\"{word}\"`")).collect();
        return words.join(" or ");
    }
    let kind = match name.as_str() {
        _ if with.ends_with("octal_mode") => "file mode, an octal string",
        _ if with.ends_with("probe_memory") => "size, such as `\"64MiB\"`",
        "Duration" if with.ends_with("above_zero") => "duration above 0",
        "Duration" => "duration",
        "bool" => "`true` or `false`",
        "NonZeroUsize" | "NonZeroU32" | "NonZeroU64" => "integer above 0",
        "usize" | "u8" | "u16" | "u32" | "u64" => "integer",
        "f64" => "number",
        "PathBuf" => "path",
        "SocketAddr" => "address and port",
        "Url" => "URL",
        "BTreeMap" => "table of strings",
        _ => "string",
    };
    kind.to_owned()
}

fn name_of(field: &Field) -> String {
    field.ident.as_ref().map(ToString::to_string).expect("a named field")
}

/// The value of a word of `#[serde(…)]`.
fn serde_of(attributes: &[Attribute], word: &str) -> Option<String> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute
            .parse_nested_meta(|meta| {
                let Ok(value) = meta.value() else { return Ok(()) };
                let value: syn::LitStr = value.parse()?;
                if meta.path.is_ident(word) {
                    found = Some(value.value());
                }
                Ok(())
            })
            .expect("an attribute of serde");
    }
    found
}

/// The words of a documentation comment, as one line.
fn doc(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { return None };
        let Expr::Lit(literal) = &pair.value else { return None };
        let Lit::Str(text) = &literal.lit else { return None };
        pair.path.is_ident("doc").then(|| text.value().trim().to_owned())
    };
    attributes.iter().filter_map(line).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// "Section `[source]`: where checks come from." without what the heading says.
fn without_heading(doc: &str) -> String {
    if !doc.starts_with("Section `[") {
        return doc.to_owned();
    }
    let rest = doc.split_once(": ").map_or("", |(_, rest)| rest);
    let mut characters = rest.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// The last word of a type's path.
fn last(of: &Type) -> String {
    let Type::Path(path) = of else { return String::new() };
    path.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default()
}

/// What is in an `Option` or a `Vec`.
fn inside<'t>(of: &'t Type, around: &str) -> Option<&'t Type> {
    let Type::Path(path) = of else { return None };
    let segment = path.path.segments.last().filter(|segment| segment.ident == around)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(inner) => Some(inner),
        _ => None,
    })
}

/// As serde renames variants.
fn cased(name: &str, case: &str) -> String {
    let between = match case {
        "snake_case" => "_",
        "kebab-case" => "-",
        _ => "",
    };
    let mut word = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !word.is_empty() {
            word.push_str(between);
        }
        word.extend(character.to_lowercase());
    }
    word
}
