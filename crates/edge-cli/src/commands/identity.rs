//! `identity`: show, export, import, revocation, revoke, rotate, invite, tickets, withdraw.

use std::{
    io::IsTerminal as _,
    path::Path,
    time::{Duration, Instant},
};

use edge_base::{Digest, backup::BackupError};
use edge_node::files::read_bounded;
use edge_node::folder::{
    FolderError, export_identity, import_identity, read_api_note, read_identity, write_private,
};
use edge_swarm::{RevocationError, RevocationNote, Ticket};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Context, amount, counted, list, node_name, short, task::one_beginning_with, text};
use crate::{
    args::Identity,
    client::escaped,
    failure::{Exit, Failure, Outcome},
};

/// The largest password that is read.
const PASSWORD_BYTES_MAX: usize = 4_096;

pub(super) fn run(context: &Context, command: Identity) -> Outcome {
    match command {
        Identity::Show => show(context),
        Identity::Export { file, password_file } => {
            export(context, &file, password_file.as_deref())
        }
        Identity::Import { file, password_file } => {
            import(context, &file, password_file.as_deref())
        }
        Identity::Revocation { file } => revocation(context, &file),
        Identity::Revoke { file, yes } => revoke(context, file.as_deref(), yes),
        Identity::Rotate { yes } => rotate(context, yes),
        Identity::Invite { owner, credits } => {
            let credits = amount(&credits, "for example --credits 12.5")?;
            let body = json!({ "owner": owner, "credits": credits.as_ruv() });
            let answer = context.client()?.post("/api/v1/identity/invite", &body)?;
            context.show(&answer, |output, answer| {
                output.line(text(answer, "ticket"));
                output.remark(format!(
                    "\nIt works once, for a week. On the other machine:\n  edge-net start --join TICKET\n\
                     Until then `edge-net identity withdraw {}` makes it void.",
                    short(&text(answer, "id"))
                ));
            });
            Ok(())
        }
        Identity::Tickets => tickets(context),
        Identity::Withdraw { tickets, all } => withdraw(context, &tickets, all),
    }
}

fn tickets(context: &Context) -> Outcome {
    let answer = context.client()?.get("/api/v1/identity/tickets")?;
    context.show(&answer, |output, answer| {
        let row = |ticket: &Value| {
            let state = match (ticket["used_by"].is_string(), ticket["left"].as_u64()) {
                (true, _) => format!("used by {}", node_name(&ticket["used_by"])),
                (false, Some(us)) => format!("out, {} h left", us.div_ceil(3_600_000_000)),
                (false, None) => "too old".to_owned(),
            };
            let owner = if ticket["owner"] == true { "yours" } else { "stranger" };
            vec![short(&text(ticket, "ticket")), state, owner.into(), text(ticket, "credits")]
        };
        let rows: Vec<Vec<String>> = list(answer, "tickets").iter().map(row).collect();
        if rows.is_empty() {
            output.line("no tickets; make one: edge-net identity invite");
        } else {
            output.table(&["TICKET", "STATE", "FOR", "CREDITS"], &rows);
        }
    });
    Ok(())
}

fn withdraw(context: &Context, named: &[String], all: bool) -> Outcome {
    let client = context.client()?;
    let known = client.get("/api/v1/identity/tickets")?;
    let known = list(&known, "tickets");
    let id = |ticket: &Value| ticket["ticket"].as_str().unwrap_or_default().to_owned();
    let ids: Vec<String> = if all {
        known.iter().filter(|ticket| ticket["left"].is_u64()).map(id).collect()
    } else {
        let all: Vec<&str> = known.iter().filter_map(|t| t["ticket"].as_str()).collect();
        let one = |name: &String| match name.parse::<Ticket>() {
            Ok(ticket) => Ok(ticket.id().to_hex()),
            Err(_) => one_beginning_with(
                &all,
                &name.to_ascii_lowercase(),
                "ticket",
                "edge-net identity tickets",
            ),
        };
        named.iter().map(one).collect::<Outcome<_>>()?
    };
    for id in &ids {
        client.delete(&format!("/api/v1/identity/tickets/{}", escaped(id)))?;
    }
    let answer = json!({ "schema": "edge-net.withdrawn/1", "tickets": ids });
    context.show(&answer, |output, _| {
        output.line(format!("{} void now", counted(ids.len(), "ticket")));
    });
    Ok(())
}

fn show(context: &Context) -> Outcome {
    let folder = context.config(Vec::new())?.data_dir;
    let found = read_identity(&folder).map_err(|error| of_folder(&error))?;
    let Some((identity, _)) = found else {
        let what = format!("{} holds no identity", folder.display());
        let next = "make one with `edge-net start`, or restore one with `edge-net identity import`";
        return Err(Failure::new(Exit::NotFound, what, "no node was ever started there", next));
    };
    let node = identity.node_id();
    let mut answer = json!({
        "schema": "edge-net.identity/1",
        "identity": identity.to_string(),
        "node": node.to_hex(),
        "network": identity.network().to_string(),
        "folder": folder,
    });
    // Whether it was revoked is known to the node that runs on it.
    let asked = read_api_note(&folder).and_then(|_| context.client().ok());
    let status = asked.and_then(|client| client.get("/api/v1/status").ok());
    if let Some(status) = status.filter(|status| status["node"] == answer["node"]) {
        answer["revoked"] = status["revoked"].clone();
    }
    context.show(&answer, |output, answer| {
        output.line(output.bold(&node.short()));
        if !output.quiet {
            output.line(format!("  identity  {}", text(answer, "identity")));
            output.line(format!("  node id   {}", text(answer, "node")));
            output.line(format!("  network   {}", text(answer, "network")));
            output.line(format!("  folder    {}", text(answer, "folder")));
        }
        if answer["revoked"] == true {
            let next = "join again with a new key: an empty --data-dir and a ticket";
            output.line(output.red(&format!("  revoked   nobody hears it any more; {next}")));
        }
    });
    Ok(())
}

fn export(context: &Context, file: &Path, password_file: Option<&Path>) -> Outcome {
    let folder = context.config(Vec::new())?.data_dir;
    if file.exists() {
        let what = format!("{} is there already", file.display());
        return Err(Failure::new(
            Exit::Refused,
            what,
            "a backup is never overwritten",
            "name another",
        ));
    }
    let password = password(password_file, true)?;
    let bytes = export_identity(&folder, &password).map_err(|error| of_folder(&error))?;
    write_new(file, &bytes)?;
    let answer = json!({
        "schema": "edge-net.backup/1", "file": file, "bytes": bytes.len(),
    });
    context.show(&answer, |output, _| {
        output.line(format!("wrote {}; without the password it is worthless", file.display()));
    });
    Ok(())
}

fn import(context: &Context, file: &Path, password_file: Option<&Path>) -> Outcome {
    let folder = context.config(Vec::new())?.data_dir;
    let bytes = read_bounded(file, SMALL_BYTES_MAX).map_err(|error| {
        let what = format!("{} cannot be read", file.display());
        Failure::new(Exit::NotFound, what, error, "name the file `identity export` wrote")
    })?;
    if let Some(other) = what_else(&bytes) {
        let what = format!("{} is no backup of an identity", file.display());
        return Err(Failure::new(Exit::Usage, what, other.0, other.1));
    }
    let password = password(password_file, false)?;
    let identity =
        import_identity(&folder, &bytes, &password).map_err(|error| of_folder(&error))?;
    let answer = json!({
        "schema": "edge-net.identity/1",
        "identity": identity.to_string(),
        "node": identity.node_id().to_hex(),
        "folder": folder,
    });
    context.show(&answer, |output, _| {
        output.line(format!("{} is now in {}", identity.short(), folder.display()));
    });
    Ok(())
}

/// What a file is that is not a backup, and which command takes it.
fn what_else(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    [
        (
            &b"edgenetrevoke1"[..],
            ("it is a revocation", "`edge-net identity revoke FILE` takes it"),
        ),
        (b"edgenet1", ("it is a ticket", "`edge-net start --join TICKET` takes it")),
        (b"edge-net-key", ("it is an encryption key", "`edge-net key import FILE` takes it")),
    ]
    .into_iter()
    .find_map(|(begins, what)| bytes.starts_with(begins).then_some(what))
}

/// A revocation of the key in the data folder, for the pool of the node that runs on it.
fn own_revocation(context: &Context) -> Outcome<RevocationNote> {
    let folder = context.config(Vec::new())?.data_dir;
    let found = read_identity(&folder).map_err(|error| of_folder(&error))?;
    let Some((_, key)) = found else {
        let what = format!("{} holds no identity", folder.display());
        let next = "name its data folder: --data-dir FOLDER";
        return Err(Failure::new(Exit::NotFound, what, "no node was ever started there", next));
    };
    let status = context.client()?.get("/api/v1/status")?;
    if status["founder"] == key.node_id().to_hex() {
        return Err(Failure::new(
            Exit::Refused,
            "the founder's key cannot be revoked",
            "it is part of the pool: who founds another pool has another one",
            "keep a backup instead: `edge-net identity export FILE`",
        ));
    }
    let pool = Digest::from_hex(&text(&status, "pool")).ok_or_else(|| {
        Failure::failed("the node names no pool", "its answer has none", "update it")
    })?;
    Ok(RevocationNote::new(&key, pool))
}

fn revocation(context: &Context, file: &Path) -> Outcome {
    if file.exists() {
        let what = format!("{} is there already", file.display());
        let why = "a revocation never overwrites anything";
        return Err(Failure::new(Exit::Refused, what, why, "name another"));
    }
    let note = own_revocation(context)?;
    write_new(file, format!("{note}\n").as_bytes())?;
    let node = note.revocation.body.node;
    let answer = json!({
        "schema": "edge-net.revocation/1", "file": file, "node": node.to_hex(),
    });
    context.show(&answer, |output, _| {
        output.line(format!("wrote {}; who has it can end {}", file.display(), node.short()));
    });
    Ok(())
}

fn revoke(context: &Context, file: Option<&Path>, yes: bool) -> Outcome {
    let note = match file {
        None => own_revocation(context)?,
        Some(path) => {
            let written = read_bounded(path, SMALL_BYTES_MAX).map_err(|error| {
                let what = format!("{} cannot be read", path.display());
                Failure::new(Exit::NotFound, what, error, "name what `identity revocation` wrote")
            })?;
            String::from_utf8_lossy(&written).parse().map_err(|error: RevocationError| {
                let what = format!("{} is no revocation", path.display());
                Failure::new(Exit::Usage, what, error, "name what `identity revocation` wrote")
            })?
        }
    };
    let node = note.revocation.body.node;
    if !yes {
        let what = format!("{} was not revoked", node.short());
        let why = "nothing takes it back, and its account stands still afterwards";
        return Err(Failure::new(Exit::Usage, what, why, "add --yes"));
    }
    let body = json!({ "revocation": note.to_string() });
    let answer = context.client()?.post("/api/v1/identity/revoke", &body)?;
    context.show(&answer, |output, _| {
        output
            .line(format!("{} is revoked; every member that hears of it refuses it", node.short()));
    });
    Ok(())
}

/// How long a node may take to answer under its new key.
const STARTS_AGAIN: Duration = Duration::from_secs(10);

fn rotate(context: &Context, yes: bool) -> Outcome {
    if !yes {
        let why = "nothing takes it back: the present key is dead afterwards";
        return Err(Failure::new(Exit::Usage, "the key was not replaced", why, "add --yes"));
    }
    let answer = context.client()?.post("/api/v1/identity/rotate", &json!({}))?;
    // In between the node says of itself that nobody hears it.
    let until = Instant::now() + STARTS_AGAIN;
    let answers = || {
        let status = context.client().and_then(|client| client.get("/api/v1/status"));
        status.is_ok_and(|status| status["node"] == answer["heir"])
    };
    let mut again = answers();
    while !again && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
        again = answers();
    }
    context.show(&answer, |output, answer| {
        let (node, heir) = (node_name(&answer["node"]), node_name(&answer["heir"]));
        let goes_on = match again {
            true => "goes on under that key",
            false => "does not answer under that key yet: `edge-net status` says when it does",
        };
        output.line(format!("{node} is {heir} from now on, and {goes_on}"));
        output.line("make a backup of it: edge-net identity export FILE");
    });
    Ok(())
}

/// Writes a file that was not there; what cannot be written whole is not left half.
fn write_new(file: &Path, bytes: &[u8]) -> Outcome {
    write_private(file, bytes).map_err(|error| {
        let what = format!("{} cannot be written", file.display());
        let next = match error.kind() {
            std::io::ErrorKind::StorageFull => "make room, or name a file on another disk",
            _ => "name a file in a folder that you may write to",
        };
        // A part of it would stand in the way of the next try.
        let _ = std::fs::remove_file(file);
        Failure::failed(what, error, next)
    })
}

/// A backup, a revocation or a password: more than this is none of them.
const SMALL_BYTES_MAX: u64 = 1 << 20;

/// From a file, the environment, the terminal without echo, or a line of standard input.
fn password(file: Option<&Path>, new: bool) -> Outcome<Zeroizing<Vec<u8>>> {
    let usage = |what: String, why: String| {
        Failure::new(Exit::Usage, what, why, "use --password-file FILE or EDGE_NET_PASSWORD")
    };
    let text = if let Some(path) = file {
        let bytes = read_bounded(path, SMALL_BYTES_MAX).map_err(|error| {
            usage(format!("{} cannot be read", path.display()), error.to_string())
        })?;
        Zeroizing::new(bytes)
    } else if let Some(value) = std::env::var_os("EDGE_NET_PASSWORD") {
        Zeroizing::new(value.to_string_lossy().into_owned().into_bytes())
    } else if std::io::stdin().is_terminal() {
        let ask = |prompt: &str| -> std::io::Result<Zeroizing<String>> {
            let terminal = console::Term::stderr();
            terminal.write_str(prompt)?;
            Ok(Zeroizing::new(terminal.read_secure_line()?))
        };
        let failed = |error: std::io::Error| usage("no password".into(), error.to_string());
        let first = ask("password: ").map_err(failed)?;
        if new && ask("the same again: ").map_err(failed)? != first {
            return Err(usage("no password".into(), "the two differ".into()));
        }
        Zeroizing::new(first.as_bytes().to_vec())
    } else {
        let mut line = Zeroizing::new(String::new());
        std::io::stdin()
            .read_line(&mut line)
            .map_err(|error| usage("no password".into(), error.to_string()))?;
        Zeroizing::new(line.as_bytes().to_vec())
    };
    let end = text.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |at| at + 1);
    let password = Zeroizing::new(text[..end].to_vec());
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(usage("no usable password".into(), "it is empty or longer than 4 KiB".into()));
    }
    if new && password.len() < 8 {
        let why = "a backup can be guessed at for ever: use 8 characters or more".to_owned();
        return Err(usage("the password is too short".into(), why));
    }
    Ok(password)
}

/// What a data folder refused.
pub(super) fn of_folder(error: &FolderError) -> Failure {
    let (exit, next) = match error {
        FolderError::InUse { .. } => {
            (Exit::Refused, "stop that node with `edge-net stop`, or use another --data-dir")
        }
        FolderError::IdentityExists { .. } => (
            Exit::Refused,
            "nothing replaces that one: restore into an empty folder with --data-dir FOLDER",
        ),
        FolderError::SameIdentity { .. } => (
            Exit::Refused,
            "nothing is left to restore: `edge-net start`, or `start --join TICKET` if its pool's data are gone",
        ),
        FolderError::Backup(BackupError::Password) => (
            Exit::Refused,
            "type the password again (capitals count); if it is the right one, the file was changed: take \
             another copy",
        ),
        FolderError::Backup(BackupError::Malformed) => {
            (Exit::Usage, "name the file that `edge-net identity export` wrote, all of it")
        }
        FolderError::Backup(BackupError::Version(_)) => {
            (Exit::Usage, "restore it with the edge-net that wrote it, or a newer one")
        }
        FolderError::Backup(BackupError::Cost) => {
            (Exit::Usage, "its header was changed: take another copy of the file")
        }
        FolderError::Backup(BackupError::Memory) => {
            (Exit::Failed, "end other programs: it takes 64 MiB for a moment")
        }
        FolderError::Identity { .. } => (Exit::NotFound, "restore one: `edge-net identity import`"),
        _ => (Exit::Failed, "check the folder's permissions and free space"),
    };
    Failure::new(exit, "the identity cannot be used", error, next)
}
