//! The command line: every command, every flag, and the help texts with their examples.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

mod identity;
mod ledger;

pub(crate) use identity::Identity;
pub(crate) use ledger::Ledger;

/// A filter over payloads, for help texts and messages.
pub(crate) const FILTER_EXAMPLE: &str =
    r#"{"must": [{"key": "file", "match": {"value": "guide.md"}}]}"#;

/// A pool of machines that embed, search and match for each other, and check each other's answers.
#[derive(Debug, Parser)]
#[command(name = "edge-net", version, propagate_version = false, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  edge-net demo                                  see the whole thing work, here and now
  edge-net start                                 found a pool on this machine
  edge-net identity invite                       print a ticket for another machine
  edge-net start --join TICKET                   join with it, over there
  edge-net collection import notes ./notes       embed and index a folder
  edge-net search 'how do I reset it' -c notes   ask

`edge-net help --json` lists every command with its flags, for programs.

Exit codes: 0 ok, 1 failed, 2 usage, 3 no node to talk to, 4 not found, 5 refused (policy or
credits), 6 timed out, 130 interrupted.")]
pub(crate) struct Cli {
    /// What applies to every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Print one JSON object with a `schema` field
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results and errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// When to use colour (NO_COLOR is respected)
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub(crate) color: When,
    /// The node's HTTP interface [default: what the data folder says]
    #[arg(long, global = true, value_name = "URL", env = "EDGE_NET_API", hide_env_values = true)]
    pub(crate) api: Option<String>,
    /// Give up after this long: 30, 90s, 5m
    #[arg(long, global = true, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<std::time::Duration>,
    /// Read settings from this file
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// The node's data folder
    #[arg(long, global = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) data_dir: Option<PathBuf>,
}

/// When to use colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum When {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a node: found a pool, join one, or go on with the one of the data folder
    #[command(after_help = "\
Examples:
  edge-net start                       found a pool, or go on with the one of the data folder
  edge-net start --join TICKET         join the pool that `edge-net identity invite` was run in
  edge-net start --detach              in the background; `edge-net stop` ends it
  edge-net --data-dir ./b start --port 0 --join TICKET
                                       a second node on the same machine")]
    Start(Start),
    /// Stop the node: finish what was promised, then end
    #[command(after_help = "\
Example:
  edge-net stop                        returns when the process has ended")]
    Stop,
    /// Show who and how this node is
    #[command(after_help = "\
Examples:
  edge-net status
  edge-net status --json | jq .notes")]
    Status,
    /// Show, back up, restore, replace, revoke and invite identities
    #[command(subcommand, arg_required_else_help = true)]
    Identity(Identity),
    /// Make, fill, list and remove collections
    #[command(subcommand, arg_required_else_help = true)]
    Collection(Collection),
    /// Add, list and remove sentence encoders
    #[command(subcommand, arg_required_else_help = true)]
    Model(Model),
    /// Turn texts into vectors
    #[command(after_help = "\
Examples:
  edge-net embed 'a text'
  edge-net embed 'one' 'another' --json
  edge-net embed 'a text' --model all-minilm-l6-v2
  cat lines.txt | edge-net embed -         one text a line")]
    Embed(Embed),
    /// Find what is nearest to a text
    #[command(after_help = "\
Examples:
  edge-net search 'how do I set a timeout on a tcp connection' -c docs
  edge-net search 'timeout' -c docs -k 3 --json
  edge-net search 'timeout' -c docs \\
    --filter '{\"must\": [{\"key\": \"file\", \"match\": {\"value\": \"guide.md\"}}]}'

A filter has `must`, `should` and `must_not`; a condition has `match` with `value` or `any`, or
`range` with `gt`, `gte`, `lt`, `lte`.")]
    Search(Search),
    /// Say which label fits a text best, if one does
    #[command(after_help = "\
By the labels alone, or by examples too: `label<TAB>text` or {\"label\": .., \"text\": ..}, one a
line. A score is the chance of a label, given that one of them is right; a text that is far from all
of them is unknown.

Examples:
  edge-net match 'the parcel never arrived' --labels complaint,praise,question
  edge-net match 'where is it' --examples labelled.tsv
  cat mails.txt | edge-net match - --examples labelled.jsonl --json    one text a line")]
    Match(Match),
    /// Compress a file to Zstandard format
    #[command(after_help = "\
At most 4 MiB; what comes out is read by every Zstandard tool. A file that exists is not overwritten
without --force.

Examples:
  edge-net compress notes.txt              writes notes.txt.zst
  cat notes.txt | edge-net compress - > notes.zst
  edge-net compress notes.txt -o n.zst --json")]
    Compress(Compress),
    /// Give back what was compressed
    #[command(after_help = "\
Reads what any Zstandard tool wrote, with a window of at most 8 MiB and without a dictionary. No
more than 4 MiB come out, nor more than --max-bytes.

Examples:
  edge-net decompress notes.txt.zst        writes notes.txt
  edge-net decompress - < notes.zst > notes.txt")]
    Decompress(Decompress),
    /// Make, list, hand on and remove encryption keys
    #[command(subcommand, arg_required_else_help = true)]
    Key(Key),
    /// Encrypt a file with a key of this node
    #[command(after_help = "\
At most 4 MiB; XChaCha20-Poly1305. Only the nodes that are named for the key work on it, and this
one (`edge-net help key allow`). What comes out can be read wherever the key is.

Examples:
  edge-net encrypt notes.txt --key mine    writes notes.txt.enc
  cat notes.txt | edge-net encrypt - --key mine > notes.enc
  edge-net encrypt notes.txt --key mine -o n.enc --json")]
    Encrypt(Encrypt),
    /// Give back what was encrypted
    #[command(after_help = "\
What was changed, by as little as one bit, or encrypted with another key is refused.

Examples:
  edge-net decrypt notes.txt.enc --key mine        writes notes.txt
  edge-net decrypt - --key mine < notes.enc > notes.txt")]
    Decrypt(Encrypt),
    /// List, show, cancel and explain tasks
    #[command(subcommand, arg_required_else_help = true)]
    Task(Task),
    /// Look at the other members
    #[command(subcommand, arg_required_else_help = true)]
    Peer(Peer),
    /// Look at what this node is exposed to and what others tried
    #[command(subcommand, arg_required_else_help = true)]
    Security(Security),
    /// Look at credits, send and stake some, check the ledger, hand over the witness duty
    #[command(subcommand, arg_required_else_help = true)]
    Ledger(Ledger),
    /// Show settings
    #[command(subcommand, arg_required_else_help = true)]
    Config(Config),
    /// See four nodes answer, a liar named and a killed node survived, on this machine
    #[command(after_help = "\
Starts four nodes as processes of their own, imports documentation, asks questions; half way a
fifth node joins and lies, and one honest node is killed. At the end the parent checks everything
from outside and prints a summary, then the nodes stay up for you to try.

Examples:
  edge-net demo                       the documentation of the packages edge-net is built from
  edge-net demo --docs ./notes        your own text, Markdown, source or JSON Lines
  edge-net demo --exit --json         for scripts: one JSON object at the end
  edge-net demo --honest              nobody lies, and nobody may be named")]
    Demo(Demo),
    /// Print the version and what this build can do
    #[command(after_help = "\
Example:
  edge-net version --json")]
    Version,
    /// Print completions for a shell
    #[command(after_help = "\
Example:
  edge-net completions bash > ~/.local/share/bash-completion/completions/edge-net")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `start`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Start {
    /// Join the pool of this ticket
    #[arg(long, value_name = "TICKET")]
    pub(crate) join: Option<String>,
    /// Run in the background
    #[arg(long)]
    pub(crate) detach: bool,
    /// Port of the HTTP interface; 0 is any free one [default: 3141 or the next free one]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Multiaddress to listen on; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Vec<String>,
    /// Multiaddress of a peer to connect to; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) bootstrap: Vec<String>,
    /// Share of the CPU that work may take: 50%
    #[arg(long, value_name = "SHARE")]
    pub(crate) cpu: Option<String>,
    /// Execute nothing for others
    #[arg(long)]
    pub(crate) no_worker: bool,
    /// Do not look for peers on the local network
    #[arg(long)]
    pub(crate) no_mdns: bool,
    /// What to log: error, warn, info, debug, or a filter
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Go on with a data folder that was moved or restored, which looks like a copy; needed once
    ///
    /// Only when the original will never be started again: two nodes of one identity sign different
    /// blocks of one account, and the witnesses freeze such an account for good. A node that was
    /// moved so never votes as a witness again. Without this, what looks like a copy is refused. In
    /// a container, keep the data folder on a volume, or every new container looks like a copy.
    #[arg(long)]
    pub(crate) moved: bool,
    /// Lie about results of others' tasks (demonstration only)
    #[arg(long, value_name = "KIND:SEED", hide = true)]
    pub(crate) lie: Option<String>,
    /// End when the parent process ends
    #[arg(long, hide = true)]
    pub(crate) exit_with_parent: bool,
    /// Found a pool whose credits are not meant to be kept
    #[arg(long, hide = true)]
    pub(crate) test_pool: bool,
}

/// `collection`.
#[derive(Debug, Subcommand)]
pub(crate) enum Collection {
    /// Make an empty collection for texts
    #[command(after_help = "\
An import makes its collection by itself. Every member of the pool sees a collection and its name.
Texts are embedded by one model for good; who searches needs it, too (`edge-net help model add`).

Examples:
  edge-net collection create notes
  edge-net collection create notes --model all-minilm-l6-v2
  edge-net collection create notes --storage binary      a bit a number instead of a byte: less recall, slower")]
    Create {
        /// Its name
        name: String,
        /// The model that embeds its texts [default: the built-in one]
        #[arg(long, value_name = "NAME")]
        model: Option<String>,
        /// What searches compare before they score exactly: int8, f32 or binary [default: int8]
        #[arg(long, value_name = "KIND")]
        storage: Option<String>,
    },
    /// Embed and index a folder or a file
    #[command(after_help = "\
Reads text and Markdown (paragraphs), source code (comment blocks), JSON Lines (one object with
`text`, perhaps `id`, a line) and CSV or TSV (a header with the columns `text` and perhaps `id`).
Further fields and columns, and those in an object `payload`, are what filters compare. A collection
that does not exist is made. The id of a passage is the `id` of its line or row, else the hash of
its text, so what is stored already is skipped: after an interruption, run the same command again. A
search answers with that id. Files that cannot be read and files of other kinds are left out and
named; a file named by hand is always read.

Examples:
  edge-net collection import notes ./notes
  edge-net collection import tickets tickets.jsonl
  edge-net collection import tickets tickets.csv")]
    Import(Import),
    /// List collections
    #[command(after_help = "\
Example:
  edge-net collection ls")]
    Ls,
    /// Delete records by their ids
    #[command(after_help = "\
By the ids that a search answers with. Ids that no record has are named and are no error, so that a
deletion can be repeated.

Examples:
  edge-net collection delete tickets 4711 4712
  edge-net search spam -c notes -k 50 --json | jq -r '.hits[].id' | edge-net collection delete notes -")]
    Delete {
        /// The collection
        name: String,
        /// The ids, or `-` for one a line from standard input
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Measure recall and look for damage in this node's copies
    #[command(after_help = "\
Hashes every record of this node's copies again, compares the roots with those that were signed, and
looks for the neighbours of a sample once as a search does and once by comparing with every row. The
exit code is 1 when a root is another one or a row cannot be found.

Examples:
  edge-net collection check notes
  edge-net collection check notes --sample 1000 --ef 32")]
    Check(Check),
    /// Remove a collection, everywhere
    #[command(after_help = "\
On a terminal it asks back.

Examples:
  edge-net collection rm notes
  edge-net collection rm notes --yes")]
    Rm {
        /// Its name
        name: String,
        /// Do not ask back
        #[arg(long)]
        yes: bool,
    },
}

/// `collection check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The collection
    pub(crate) name: String,
    /// How many records of each shard; at most 1000
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) sample: usize,
    /// How many neighbours
    #[arg(short, value_name = "N", default_value_t = 10)]
    pub(crate) k: u32,
    /// Search effort: candidates kept [default: the collection's]
    #[arg(long, value_name = "N")]
    pub(crate) ef: Option<u32>,
}

/// `collection import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The collection
    pub(crate) name: String,
    /// A folder or a file
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
    /// Keep at most this many passages: those with the smallest ids
    #[arg(long, value_name = "N")]
    pub(crate) max_documents: Option<usize>,
}

/// How urgent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Priority {
    /// At twice the price.
    High,
    /// Never starves.
    Normal,
}

impl Priority {
    /// As the HTTP interface writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Priority::High => "high",
            Priority::Normal => "normal",
        }
    }
}

/// `embed`.
#[derive(Debug, Args)]
pub(crate) struct Embed {
    /// The texts, or `-` for one a line from standard input
    #[arg(required = true, value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    /// The model, one of `edge-net model ls` [default: the built-in one]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// High is served first, at twice the price
    #[arg(long, value_name = "HOW", default_value = "normal", hide_default_value = true)]
    pub(crate) priority: Priority,
}

/// `search`.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// What to look for
    pub(crate) query: String,
    /// Where
    #[arg(long, short, value_name = "NAME")]
    pub(crate) collection: String,
    /// How many hits
    #[arg(short, value_name = "N", default_value_t = 10)]
    pub(crate) k: u32,
    /// Search effort: candidates kept [default: the collection's]
    #[arg(long, value_name = "N")]
    pub(crate) ef: Option<u32>,
    /// A filter over payloads, JSON; an example is below
    #[arg(long, value_name = "JSON")]
    pub(crate) filter: Option<String>,
    /// Rank the best 50 again by this model of the node
    #[arg(long, value_name = "MODEL")]
    pub(crate) rerank: Option<String>,
    /// Embed the question by this model of the collection's space [default: the collection's]
    #[arg(long, value_name = "MODEL")]
    pub(crate) query_model: Option<String>,
}

/// `match`.
#[derive(Debug, Args)]
pub(crate) struct Match {
    /// The text, or `-` for one a line from standard input
    pub(crate) text: String,
    /// The labels, separated by commas [default: those of the examples]
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', required_unless_present = "examples")]
    pub(crate) labels: Vec<String>,
    /// Texts whose labels are known, one a line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) examples: Option<PathBuf>,
    /// The model that compares [default: the built-in one]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// High is served first, at twice the price
    #[arg(long, value_name = "HOW", default_value = "normal", hide_default_value = true)]
    pub(crate) priority: Priority,
}

/// `compress`.
#[derive(Debug, Args)]
pub(crate) struct Compress {
    /// The file, or `-` for standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Where to write it; `-` is standard output [default: beside the file, `-` for `-`]
    #[arg(long, short, alias = "out", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// Overwrite a file that exists
    #[arg(long)]
    pub(crate) force: bool,
    /// High is served first, at twice the price
    #[arg(long, value_name = "HOW", default_value = "normal", hide_default_value = true)]
    pub(crate) priority: Priority,
}

/// `decompress`.
#[derive(Debug, Args)]
pub(crate) struct Decompress {
    /// What applies to both ways.
    #[command(flatten)]
    pub(crate) both: Compress,
    /// Refuse what would give more bytes
    #[arg(long, value_name = "N")]
    pub(crate) max_bytes: Option<u32>,
}

/// `encrypt` and `decrypt`.
#[derive(Debug, Args)]
pub(crate) struct Encrypt {
    /// What is as with `compress`.
    #[command(flatten)]
    pub(crate) both: Compress,
    /// The key, one of `edge-net key ls`, or its id
    #[arg(long, value_name = "NAME")]
    pub(crate) key: String,
}

/// `key`.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key
    #[command(after_help = "\
32 bytes of the operating system's randomness, in the data folder, readable by you only. A running
node is told and has it at once. Who loses a key loses what was encrypted with it: export it to a
safe place.

Example:
  edge-net key create mine")]
    Create {
        /// Its name: small letters, digits, `-`, `_`, `.`
        name: String,
    },
    /// List the keys of this node
    #[command(after_help = "\
Names, ids and the nodes that are named for each; keys are never printed. An id is a digest of the
key, the same at every node that has it.

Example:
  edge-net key ls")]
    Ls,
    /// Write a key to a file, for another node of yours
    #[command(after_help = "\
Who has the file can read everything that was and will be encrypted with the key. It is readable by
you only, and overwrites nothing; carry it over a way that you trust, then delete it. It names this
node, so that the other one works for it at once; here, name the other one with `edge-net key allow`.

Example:
  edge-net key export mine --out ./mine.key")]
    Export {
        /// The key
        name: String,
        /// Where to write it
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: PathBuf,
    },
    /// Take a key that another node of yours exported
    #[command(after_help = "\
Prints which nodes are named in it: they work with the key for this node, and this one for them. A
running node is told and has it at once.

Examples:
  edge-net key import ./mine.key
  edge-net key import ./mine.key --name theirs")]
    Import {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// What to call it [default: the file's name]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Name the nodes that work with a key for this node, and for which this one does
    #[command(after_help = "\
They are to be yours, and to have the key: they see what is encrypted and decrypted, and can ask
this node to do either. Nobody else is asked or answered. `edge-net identity show` says a node's id.
A running node is told at once.

Examples:
  edge-net key allow mine ID ID
  edge-net key allow mine --only           nobody but this node
  edge-net key allow mine ID --only        that one, and none of before")]
    Allow {
        /// The key
        name: String,
        /// Identities or ids of nodes
        #[arg(value_name = "ID", required_unless_present = "only")]
        nodes: Vec<String>,
        /// In place of those that were named before
        #[arg(long)]
        only: bool,
    },
    /// Remove a key from this node
    #[command(after_help = "\
Without a copy elsewhere nobody can ever read what was encrypted with it.

Example:
  edge-net key rm mine --yes")]
    Rm {
        /// The key
        name: String,
        /// That you mean it
        #[arg(long)]
        yes: bool,
    },
}

/// `model`.
#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// Add a sentence encoder to this node
    #[command(after_help = "\
Takes a sentence-transformers folder of the BERT family (config.json, model.safetensors,
tokenizer.json or vocab.txt), and keeps it in 8 bits, a quarter of the size. The file that this makes is
the same model everywhere: give it to the other machines, so that they can embed with it and check each
other. A running node has it after a restart.

Examples:
  edge-net model add ./all-MiniLM-L6-v2
  edge-net model add ./all-minilm-l6-v2.encoder --name minilm      a file of another machine
  edge-net model add ./all-MiniLM-L6-v2 --name teacher --projected
  edge-net search 'renew a certificate' --collection docs --query-model teacher")]
    Add {
        /// A folder, or a file that this command made
        #[arg(value_hint = ValueHint::AnyPath)]
        path: PathBuf,
        /// What to call it [default: the folder's name]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Bring its vectors into the space of the built-in model, which was distilled from all-MiniLM-L6-v2
        #[arg(long)]
        projected: bool,
    },
    /// List the models that were added to this node
    #[command(after_help = "\
Example:
  edge-net model ls")]
    Ls,
    /// Remove a model from this node
    #[command(after_help = "\
Collections of texts that it embedded cannot be searched by text from here any more.

Example:
  edge-net model rm minilm")]
    Rm {
        /// Its name
        name: String,
    },
}

/// `task`.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// List this node's tasks, newest first
    #[command(after_help = "\
Example:
  edge-net task ls -n 5")]
    Ls {
        /// At most this many
        #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = count)]
        limit: usize,
    },
    /// Show one task
    #[command(after_help = "\
Example:
  edge-net task show 3f9a          the beginning of an id of `edge-net task ls`")]
    Show {
        /// The task, or the beginning of its id
        id: String,
    },
    /// Stop a task that is not decided yet
    #[command(after_help = "\
Example:
  edge-net task cancel 3f9a")]
    Cancel {
        /// The task, or the beginning of its id
        id: String,
    },
    /// Say who bid, who declined and why, who agreed, and what was paid
    #[command(after_help = "\
Example:
  edge-net task explain 3f9a")]
    Explain {
        /// The task, or the beginning of its id
        id: String,
    },
}

/// `peer`.
#[derive(Debug, Subcommand)]
pub(crate) enum Peer {
    /// List the members this node knows
    #[command(after_help = "\
Example:
  edge-net peer ls")]
    Ls,
    /// Refuse a node: no connection, no messages, nothing of it passed on
    #[command(after_help = "\
Examples:
  edge-net peer ban 3f9a             for an hour
  edge-net peer ban 3f9a --for 24h")]
    Ban {
        /// The node: its identity, its id, or the beginning of a member's id
        node: String,
        /// For how long: 30s, 5m, 24h
        #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "1h")]
        lasts: std::time::Duration,
    },
    /// End a ban and forget it
    #[command(after_help = "\
Example:
  edge-net peer unban 3f9a")]
    Unban {
        /// The node, as `edge-net peer ls` names it
        node: String,
    },
}

/// `security`.
#[derive(Debug, Subcommand)]
pub(crate) enum Security {
    /// Show what is exposed, what others tried, what was done about it, and what to improve
    #[command(after_help = "\
Examples:
  edge-net security audit
  edge-net security audit --json | jq .security_score

The score is ten times the share of checks that hold among those that apply. Counters are of
this run of the node.")]
    Audit,
}

/// `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Show every setting
    #[command(after_help = "\
Example:
  edge-net config show --origin")]
    Show {
        /// Also where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

/// `demo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Demo {
    /// Index this folder or file instead
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) docs: Option<PathBuf>,
    /// Keep at most this many passages: those with the smallest ids
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) max_documents: usize,
    /// Run without the liar
    #[arg(long)]
    pub(crate) honest: bool,
    /// End after the summary
    #[arg(long)]
    pub(crate) exit: bool,
    /// Keep the nodes' folders
    #[arg(long)]
    pub(crate) keep: bool,
    /// What is drawn (queries, samples, the kind of lie) follows from this number
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// 1 or more.
fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number of 1 or more".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// `30`, `90s`, `5m`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| "not a time: write 30, 90s or 5m".to_owned())?;
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err("not a time: write 30, 90s or 5m".to_owned()),
    };
    let seconds = number.checked_mul(factor).filter(|s| (1..=86_400).contains(s));
    seconds.map(std::time::Duration::from_secs).ok_or_else(|| "between 1s and 24h".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every help text in one snapshot: a flag that changes shows.
    #[test]
    fn help_texts() {
        fn walk(command: &mut clap::Command, path: &str, out: &mut String) {
            let name = format!("{path} {}", command.get_name());
            let help = command.render_long_help().to_string();
            out.push_str(&format!("===={name}\n{help}\n"));
            for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
                walk(sub, &name, out);
            }
        }
        let mut out = String::new();
        let mut command = Cli::command().term_width(100);
        command.build();
        walk(&mut command, "", &mut out);
        insta::assert_snapshot!(out);
    }

    /// `help COMMAND` has examples, as the README says.
    #[test]
    fn every_command_has_an_example() {
        fn walk(command: &clap::Command, without: &mut Vec<String>) {
            let subs: Vec<_> =
                command.get_subcommands().filter(|s| s.get_name() != "help").collect();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if subs.is_empty() && !help.contains("Example") {
                without.push(command.get_name().to_owned());
            }
            subs.into_iter().for_each(|sub| walk(sub, without));
        }
        let mut without = Vec::new();
        walk(&Cli::command(), &mut without);
        assert_eq!(without, [] as [String; 0]);
    }

    /// The example of a filter is one that a search takes.
    #[test]
    fn the_filter_of_the_help_is_a_filter() {
        edge_tasks::filter_from_json(FILTER_EXAMPLE.as_bytes()).unwrap();
        let mut command = Cli::command();
        let search = command.find_subcommand_mut("search").unwrap();
        assert!(search.render_long_help().to_string().contains(FILTER_EXAMPLE));
        assert_eq!((count("1"), count("0").is_err(), count("x").is_err()), (Ok(1), true, true));
    }

    #[test]
    fn times() {
        assert_eq!(duration("30").unwrap().as_secs(), 30);
        assert_eq!(duration("5m").unwrap().as_secs(), 300);
        for bad in ["", "0", "-1", "5x", "25h", "99999999999999999999"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
