//! `explain`.

use clap::Args;
use gopherworks::config::{Code, diagnostics, nearest};

use super::{Failed, code, print};

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The code of an error or a warning
    code: Option<String>,
}

/// Prints what a code of a diagnostic means, or the page of all codes.
pub fn explain(args: &ExplainArgs) -> Result<i32, Failed> {
    let Some(name) = &args.code else {
        print::line(diagnostics().trim_end(), false)?;
        return Ok(code::OK);
    };
    let names = || Code::ALL.iter().map(|code| code.name());
    let Some(at) = names().position(|known| known == name) else {
        let near = nearest(name, names());
        let near =
            near.map_or_else(String::new, |near| format!("\n  help: did you mean `{near}`?"));
        let message =
            format!("error: there is no code `{name}`; `gopherworks explain` lists all{near}");
        return Err(Failed { code: code::USAGE, message });
    };
    print::line(Code::ALL[at].explanation(), false)?;
    Ok(code::OK)
}
