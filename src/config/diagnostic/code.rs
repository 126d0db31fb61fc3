//! Codes of diagnostics: names that do not change when messages are reworded.

/// Declares all codes: each with its explanation and its name.
macro_rules! codes {
    ($($(#[doc = $line:literal])+ $code:ident $name:literal,)+) => {
        /// The rule that a diagnostic reports, by which it can be searched for and filtered.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $line])+ $code,)+
        }

        impl Code {
            /// All codes, errors before warnings.
            pub const ALL: &[Self] = &[$(Self::$code),+];

            /// The name in messages, such as `unknown-key`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)+
                }
            }

            /// What is wrong, and what to do.
            pub fn explanation(self) -> &'static str {
                match self {
                    $(Self::$code => concat!($($line),+).trim_ascii_start(),)+
                }
            }
        }
    };
}

codes! {
    /// A config file can't be read: it does not exist, is a folder or a device, is too large, or is
    /// not UTF-8.
    UnreadableFile "unreadable-file",
    /// A config file is not valid TOML.
    Syntax "syntax",
    /// The file that `extends` names can't be used: files extend each other in a circle, the chain
    /// is too long, or it is not the path of one file.
    Extends "invalid-extends",
    /// `remove` is not an array of dotted keys, or names a key that no inherited file has.
    Remove "invalid-remove",
    /// `like` names the crew itself, or a crew that has a `like` too.
    Like "invalid-like",
    /// `${env.NAME}` can't be replaced: the variable is not set and there is no default, or it is
    /// only a part of the value.
    Interpolation "interpolation",
    /// A variable `GOPHERWORKS__...` or a flag `--set` names no key, or is not UTF-8.
    Override "invalid-override",
    /// A table has no such key. The help names the most similar key, or all keys.
    UnknownKey "unknown-key",
    /// A required key is missing.
    MissingKey "missing-key",
    /// Keys that exclude each other are both given.
    ExclusiveKeys "exclusive-keys",
    /// A value has the wrong type, such as a string instead of a number.
    WrongType "wrong-type",
    /// An expression is not in the Common Expression Language (CEL), names what does not exist, or
    /// has a loop in a loop.
    Expression "invalid-expression",
    /// A value has the right type, but not the right form, such as a duration without a unit.
    InvalidValue "invalid-value",
    /// A number, a duration, a size or a total is too small or too large.
    OutOfBounds "out-of-bounds",
    /// Two values contradict each other, such as a least delay that is longer than the longest.
    Contradiction "contradiction",
    /// A word is none of those that its key takes.
    UnknownWord "unknown-word",
    /// No source, work, burn or worker of this kind exists. `gopherworks kinds` lists all kinds.
    UnknownKind "unknown-kind",
    /// This build lacks the feature that the config needs.
    MissingFeature "missing-feature",
    /// A name does not consist of lower-case letters, digits and underscores, a letter first.
    InvalidName "invalid-name",
    /// Two nodes have the same name; names are unique across piles, dumps, incinerators, crews,
    /// relays, balancers and requesters.
    DuplicateName "duplicate-name",
    /// Copies are made twice along the same axis. Copies along two axes multiply: rename one axis.
    DuplicateAxis "duplicate-axis",
    /// No node, crew or balancer has this name.
    UnknownNode "unknown-node",
    /// A reference names no copy of a node, or does not say which copy is meant.
    UnresolvedCopy "unresolved-copy",
    /// A crew, a relay or a requester leads from or to a node of a kind that can't be there. Crews
    /// carry from piles and dumps into dumps and incinerators; requesters send to balancers.
    WrongEnd "wrong-end",
    /// Books can't get from a pile to an incinerator, since a node or a crew on the way is missing.
    DeadEnd "dead-end",
    /// Books or requests would circulate forever.
    Cycle "cycle",
    /// A cart holds more than the dump that it is unloaded into or loaded from.
    CartTooLarge "cart-too-large",
    /// The gophers of a crew do not do each of the steps load, push, unload and return.
    Steps "steps",
    /// A balancer stands beside other works of a crew; it must be the only one.
    WorkBesideBalancer "work-beside-balancer",
    /// A balancer has too few workers for its policy, its `hedge` or its `replicate`.
    TooFewWorkers "too-few-workers",
    /// Requests are executed more than once although the balancer is not `idempotent`.
    NotIdempotent "not-idempotent",
    /// A server would be reachable from other machines without `public = true`; the one of
    /// `[operations]` also without a `token`.
    PublicAddress "public-address",
    /// Two incinerators write to the same file.
    SharedOutput "shared-output",
    /// A file is both read and written.
    OutputIsInput "output-is-input",
    /// Standard input is read as the config and as a source.
    StandardInputTaken "standard-input-taken",
    /// The target of a fault can't be parsed, or the fault does not apply to it.
    FaultTarget "fault-target",
    /// A dump without a capacity does not slow down the crews that fill it.
    NoBackPressure "no-back-pressure",
    /// A dump holds less than one cartload of each side, so the sides wait for each other.
    SmallDump "small-dump",
    /// A crew has fewer carts than gophers, so some gophers always wait for a cart.
    FewCarts "few-carts",
    /// A book has more attempts than supervision allows restarts, so one bad book can end the run.
    FewRestarts "few-restarts",
    /// A setting has no effect beside the others.
    NoEffect "no-effect",
    /// Nothing leads to a node.
    UnusedNode "unused-node",
    /// The workers of a balancer can't keep up with the requested load.
    Overload "overload",
    /// The topology needs more memory than this machine has.
    Memory "memory",
    /// A program, or the folder that it runs in, is missing on this machine.
    MissingProgram "missing-program",
    /// An output is written inside an input folder.
    OutputInInput "output-in-input",
}
