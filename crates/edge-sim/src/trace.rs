//! Inputs and outputs in one line each, for people who look for a fault.

use edge_swarm::{
    Input, Output,
    message::{FRAME_GOSSIP, decode_gossip, decode_message},
};

const WIDTH: usize = 400;

fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(WIDTH) {
        text.truncate(at);
    }
    text
}

fn frame(bytes: &[u8]) -> String {
    if bytes.get(3) == Some(&FRAME_GOSSIP) {
        decode_gossip(bytes).map_or("undecodable gossip".into(), |gossip| format!("{gossip:?}"))
    } else {
        decode_message(bytes).map_or("undecodable".into(), |message| format!("{message:?}"))
    }
}

pub(crate) fn input(input: &Input) -> String {
    cut(match input {
        Input::Frame { from, bytes } => format!("{} {}", from.short(), frame(bytes)),
        Input::Published { bytes, .. } => format!("gossip {}", frame(bytes)),
        Input::Executed { work, outcome } => {
            format!("executed {work}: {:?}", outcome.as_ref().map(Vec::len))
        }
        Input::Loaded { load, value } => {
            format!("loaded {load}: {:?}", value.as_ref().map(Vec::len))
        }
        other => format!("{other:?}"),
    })
}

pub(crate) fn output(output: &Output) -> String {
    cut(match output {
        Output::Persist(write) => format!(
            "persist {} {}",
            write.table.name(),
            write.value.as_ref().map_or("removed".into(), |v| format!("{} bytes", v.len()))
        ),
        Output::Send { to, frame: bytes } => format!("send {} {}", to.short(), frame(bytes)),
        Output::Publish { frame: bytes } => format!("publish {}", frame(bytes)),
        other => format!("{other:?}"),
    })
}
