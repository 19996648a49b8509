//! `kittyctl operation …`

use std::process::ExitCode;

use chaos_kitty::{
    Code, Problem,
    v1::{
        self, DeleteOperationRequest, Floop, Groom, Hairball, ListOperationsRequest, ListOperationsResponse,
        Operation, PutOperationRequest, Scratch, Selector, Yowl, Zoomies,
    },
};
use clap::ValueEnum;

use super::pages;

use crate::{
    args::{Global, Kind, OperationCommand, Parameters, PutArgs},
    failure::Outcome,
    output::Output,
    session::Session,
};

pub(super) async fn run(command: OperationCommand, global: &Global, out: &Output) -> Outcome {
    match command {
        OperationCommand::Put(args) => {
            let operation = Some(operation(*args)?);
            let session = Session::open(global).await?;
            let put = PutOperationRequest { operation };
            let status = session.answer(session.client.clone().put_operation(put)).await?;
            out.one(&status)?;
        }
        OperationCommand::List => {
            let session = Session::open(global).await?;
            let operations = pages::all(async |page_size, page_token| {
                let request = ListOperationsRequest { page_size, page_token };
                let page = session.answer(session.client.clone().list_operations(request)).await?;
                Ok((page.operations, page.next_page_token))
            })
            .await?;
            let response = ListOperationsResponse { operations, ..Default::default() };
            out.list(&response, &response.operations)?;
        }
        OperationCommand::Delete { name } => {
            let session = Session::open(global).await?;
            let delete = DeleteOperationRequest { name: name.clone() };
            let response = session.answer(session.client.clone().delete_operation(delete)).await?;
            out.sentence(&response, &format!("{name} ended; faults that it began go on to their own end"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be put.
///
/// # Errors
/// The kind is neither given nor in the name, or a parameter is not one of the kind's.
fn operation(args: PutArgs) -> Result<Operation, Problem> {
    let kind = args.kind.map_or_else(|| Kind::from_str(&args.name, true), Ok).map_err(|_| {
        Problem::new(Code::Usage, format!("operation put {}: no kind of operation has this name", args.name))
            .hint(format!("give --kind, one of {}", kinds()))
    })?;
    let foreign = foreign_parameters(&args.parameters, kind);
    if !foreign.is_empty() {
        let message = format!("operation put {}: a {kind:?} takes no {}", args.name, foreign.join(", "));
        return Err(Problem::new(Code::Usage, message.to_lowercase())
            .hint("`kittyctl operation put --help` says which kind takes what"));
    }
    Ok(Operation {
        selector: selector(&args),
        name: args.name,
        interval: args.interval.map(Into::into),
        probability: args.probability,
        seed: args.seed,
        kind: Some(wire_kind(kind, args.parameters)),
    })
}

fn kinds() -> String {
    let names = Kind::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    names.map(|value| value.get_name().to_owned()).collect::<Vec<_>>().join(", ")
}

/// Unset where the operation may draw from all targets.
fn selector(args: &PutArgs) -> Option<Selector> {
    let any = args.platform.is_none() && args.group.is_none() && args.labels.is_empty();
    (!any).then(|| Selector {
        platform_type: args.platform.clone().unwrap_or_default(),
        aggregation_identifier: args.group.clone().unwrap_or_default(),
        labels: args.labels.iter().cloned().collect(),
    })
}

/// Flags that were given and that another kind than this takes.
fn foreign_parameters(parameters: &Parameters, kind: Kind) -> Vec<&'static str> {
    let given = [
        (Kind::Hairball, "--min-delay", parameters.min_delay.is_some()),
        (Kind::Hairball, "--max-delay", parameters.max_delay.is_some()),
        (Kind::Scratch, "--signal", parameters.signal.is_some()),
        (Kind::Floop, "--min-size-mb", parameters.min_size_mb.is_some()),
        (Kind::Floop, "--max-size-mb", parameters.max_size_mb.is_some()),
        (Kind::Floop, "--hold-duration", parameters.hold_duration.is_some()),
        (Kind::Zoomies, "--min-duration", parameters.min_duration.is_some()),
        (Kind::Zoomies, "--max-duration", parameters.max_duration.is_some()),
        (Kind::Yowl, "--message", !parameters.messages.is_empty()),
        (Kind::Yowl, "--duration", parameters.duration.is_some()),
    ];
    given.into_iter().filter(|(of, _, given)| *given && *of != kind).map(|(_, flag, _)| flag).collect()
}

fn wire_kind(kind: Kind, given: Parameters) -> v1::operation::Kind {
    use v1::operation::Kind as Wire;
    match kind {
        Kind::Hairball => Wire::Hairball(Hairball {
            min_delay: given.min_delay.map(Into::into),
            max_delay: given.max_delay.map(Into::into),
        }),
        Kind::Scratch => Wire::Scratch(Scratch { signal: given.signal.unwrap_or_default() }),
        Kind::Floop => Wire::Floop(Floop {
            min_size_mb: given.min_size_mb.unwrap_or_default(),
            max_size_mb: given.max_size_mb.unwrap_or_default(),
            hold_duration: given.hold_duration.map(Into::into),
        }),
        Kind::Zoomies => Wire::Zoomies(Zoomies {
            min_duration: given.min_duration.map(Into::into),
            max_duration: given.max_duration.map(Into::into),
        }),
        Kind::Yowl => Wire::Yowl(Yowl { messages: given.messages, duration: given.duration.map(Into::into) }),
        Kind::Groom => Wire::Groom(Groom {}),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    fn put(line: &str) -> Result<Operation, Problem> {
        let words = format!("kittyctl operation put {line}");
        let args = Args::try_parse_from(words.split_whitespace()).expect(line);
        match args.command {
            Command::Operation(OperationCommand::Put(args)) => operation(*args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_kind_is_the_name_where_none_is_given() {
        let line = "hairball --interval 30s --probability 0.3 --min-delay 500ms --max-delay 5s";
        assert_eq!(
            put(line),
            Ok(Operation {
                name: "hairball".into(),
                interval: Some(Duration::from_secs(30).into()),
                probability: Some(0.3),
                kind: Some(v1::operation::Kind::Hairball(Hairball {
                    min_delay: Some(Duration::from_millis(500).into()),
                    max_delay: Some(Duration::from_secs(5).into()),
                })),
                ..Default::default()
            })
        );
        let named = put("night --kind groom").expect("a kind was given");
        assert_eq!((named.name.as_str(), named.kind), ("night", Some(v1::operation::Kind::Groom(Groom {}))));
    }

    #[test]
    fn what_is_not_given_stays_unset_so_that_the_server_fills_it_in() {
        let bare = put("floop").expect("floop is a kind");
        assert_eq!((bare.interval, bare.probability, bare.seed, bare.selector), (None, None, None, None));
        assert_eq!(bare.kind, Some(v1::operation::Kind::Floop(Floop::default())));
    }

    #[test]
    fn a_selector_holds_platform_group_and_labels() {
        let selector =
            put("scratch --platform process --group nginx --label zone=a").expect("valid").selector;
        let selector = selector.expect("a selector was given");
        assert_eq!(selector.platform_type, "ProcessPlatform");
        assert_eq!(selector.aggregation_identifier, "nginx");
        assert_eq!(selector.labels.get("zone").map(String::as_str), Some("a"));
    }

    #[test]
    fn a_parameter_of_another_kind_is_wrong_usage() {
        let problem = put("hairball --signal KILL --min-size-mb 3").expect_err("neither belongs to it");
        assert_eq!(problem.code.exit(), 2);
        assert!(
            problem.message.contains("--signal") && problem.message.contains("--min-size-mb"),
            "{problem}"
        );
        let problem = put("nonsense").expect_err("no such kind");
        assert!(problem.hint.contains("zoomies"), "{problem}");
    }
}
