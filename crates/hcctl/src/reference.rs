//! The page of all commands and options.

use std::fmt::Write as _;

use clap::{Arg, Command};

/// The page, as Markdown.
pub(crate) fn page(command: &Command) -> String {
    let mut text = format!(
        "# hcctl\n\nThis page is made from the program (`cargo xtask reference`).\n\n{}\n",
        command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default()
    );
    text.push_str("\n## Options of every command\n\n");
    arguments(&mut text, command.get_arguments());
    of_commands(&mut text, command, "hcctl");
    text
}

fn of_commands(text: &mut String, command: &Command, path: &str) {
    for command in
        command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
    {
        let path = format!("{path} {}", command.get_name());
        let values: Vec<String> = command.get_positionals().map(shown).collect();
        let about =
            command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n## `{}`\n\n{}\n",
            [std::slice::from_ref(&path), &values[..]].concat().join(" "),
            sentence(&about)
        );
        let own = || {
            command
                .get_arguments()
                .filter(|argument| !argument.is_global_set() && argument.get_id() != "help")
        };
        if own().next().is_some() {
            text.push('\n');
            arguments(text, own());
        }
        of_commands(text, command, &path);
    }
}

fn arguments<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    text.push_str("| argument | meaning |\n| --- | --- |\n");
    for argument in arguments.filter(|argument| !argument.is_hide_set()) {
        let mut meaning = sentence(&argument.get_help().map(ToString::to_string).unwrap_or_default());
        let takes = argument.get_action().takes_values();
        let words = argument.get_possible_values();
        if takes && !words.is_empty() {
            let words: Vec<String> = words.iter().map(|word| format!("`{}`", word.get_name())).collect();
            let _ = write!(meaning, " One of {}.", words.join(", "));
        }
        if let [default] = argument.get_default_values()
            && takes
        {
            let _ = write!(meaning, " Default `{}`.", default.to_string_lossy());
        }
        if let Some(variable) = argument.get_env() {
            let _ = write!(meaning, " In the environment: `{}`.", variable.to_string_lossy());
        }
        let _ =
            writeln!(text, "| `{}` | {} |", shown(argument), meaning.replace('|', "\\|").replace('\n', " "));
    }
}

/// `--label KEY=VALUE`, or the name of a value that stands by itself.
fn shown(argument: &Arg) -> String {
    let id = || argument.get_id().to_string().to_uppercase();
    let name = argument.get_value_names().and_then(<[_]>::first).map_or_else(id, ToString::to_string);
    match argument.get_long() {
        Some(long) if argument.get_action().takes_values() => format!("--{long} {name}"),
        Some(long) => format!("--{long}"),
        None => {
            let several = argument.get_num_args().is_some_and(|count| count.max_values() > 1);
            let name = if several { format!("{name}…") } else { name };
            if argument.is_required_set() { name } else { format!("[{name}]") }
        }
    }
}

/// With the full stop that clap takes away.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() || text.ends_with(['.', ':']) { text.to_owned() } else { format!("{text}.") }
}
