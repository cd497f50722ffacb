//! The command line against files, a store and a running control plane.

use std::path::Path;
use std::process::Command;

use lipservice::clock::Clock;

use super::api::{Server, config};
use super::store::sqlite_file;

/// Status, standard output, standard error.
async fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lipservice"));
    for name in ["LIPSERVICE_SERVER", "LIPSERVICE_TOKEN", "LIPSERVICE_STORE"] {
        command.env_remove(name);
    }
    command.args(arguments).env("NO_PROXY", "127.0.0.1");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn policy(id: &str, keep: &str) -> String {
    format!("id: {id}\nname: {id}\nlog:\n  match: [{{ log_field: body, contains: {id} }}]\n  keep: {keep}\n")
}

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}

#[tokio::test]
async fn apply_is_idempotent_and_prints_a_plan_first() {
    let server = Server::over(&super::store::at("sqlite::memory:"), config(), Clock::System).await;
    let url = server.url("");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap().to_owned();
    write(directory.path(), "global.yaml", &format!("{}---\n{}", policy("a", "1%"), policy("b", "2%")));
    write(directory.path(), "shop.yaml", &policy("c", "none"));
    write(directory.path(), "notes.txt", "no policy");
    let apply = async |more: &[&str]| {
        let mut arguments = vec!["policy", "apply", "--server", &url, "-f", &path];
        arguments.extend(more);
        run(&arguments).await
    };
    let (code, out, _) = apply(&["--dry-run"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("~ global: from") && out.contains("    + a\n    + b") && out.contains("--dry-run"), "{out}");
    assert_eq!(server.get("/v1/policies").await.body["items"].as_array().unwrap().len(), 0);
    let (code, out, err) = apply(&["--reason", "from git"]).await;
    assert!(code == 0 && out.ends_with("2 changed\n"), "{out}{err}");
    let (code, out, _) = apply(&[]).await;
    assert_eq!((code, out.as_str()), (0, "= global\n= service:shop\n0 to change\n"));
    assert_eq!(server.get("/v1/audit").await.body["items"].as_array().unwrap().len(), 4);

    // A file with an error: nothing of the directory is applied.
    write(directory.path(), "global.yaml", &policy("a", "5%"));
    write(directory.path(), "shop.yaml", &policy("c", "sometimes"));
    let (code, _, err) = apply(&[]).await;
    assert!(code != 0 && err.contains("shop.yaml: policies[0].log.keep"), "{err}");
    assert_eq!(server.get("/v1/policies/global").await.body["newest"]["number"], 1);
    let (code, out, _) = run(&["policy", "lint", &path]).await;
    assert!(code != 0 && out.contains("policies[0].log.keep"), "{out}");

    // What the directory no longer has stays in force unless told otherwise.
    std::fs::remove_file(directory.path().join("shop.yaml")).unwrap();
    let (_, out, _) = apply(&[]).await;
    assert!(out.contains("    ~ a\n    - b") && out.ends_with("1 changed\n"), "{out}");
    assert_eq!(server.get("/v1/policies/service:shop").await.body["active"], 1);
    let (code, out, err) = apply(&["--prune"]).await;
    assert!(code == 0 && out.contains("- service:shop: taken out of force"), "{out}{err}");
    assert!(server.get("/v1/policies/service:shop").await.body["active"].is_null());
    server.stop().await;
}

#[tokio::test]
async fn versions_are_looked_at_and_put_in_force() {
    let server = Server::over(&super::store::at("sqlite::memory:"), config(), Clock::System).await;
    let url = server.url("");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.yaml").to_str().unwrap().to_owned();
    for keep in ["1%", "2%"] {
        write(directory.path(), "p.yaml", &policy("a", keep));
        let (code, _, err) = run(&["policy", "apply", "--server", &url, "-f", &file, "--service", "shop"]).await;
        assert_eq!(code, 0, "{err}");
    }
    let of = async |command: &str, more: &[&str]| {
        let mut arguments = vec!["policy", command, "--server", &url];
        arguments.extend(more);
        run(&arguments).await
    };
    let shop = ["--service", "shop"];
    assert!(of("get", &["--list"]).await.1.contains("service:shop"));
    assert!(of("get", &shop).await.1.contains("keep: 2%"));
    assert!(of("get", &["--service", "shop", "--number", "1"]).await.1.contains("keep: 1%"));
    let (code, out, _) = of("diff", &["--service", "shop", "--from", "1"]).await;
    assert!(code == 1 && out.contains("~ a") && out.contains("+   keep: 2%"), "{out}");
    assert_eq!(of("diff", &["--service", "shop", "-f", &file]).await.0, 0);
    let (_, out, _) = of("rollback", &shop).await;
    assert_eq!(out, "service:shop: version 1 is in force now\n");
    let (_, out, _) = of("activate", &["--service", "shop", "2", "--reason", "better"]).await;
    assert_eq!(out, "service:shop: version 2 is in force now\n");
    let (_, out, _) = of("history", &shop).await;
    assert!(out.lines().count() == 4 && out.lines().next().unwrap().ends_with("better"), "{out}");
    let (code, _, err) = of("activate", &["--service", "shop", "9"]).await;
    assert!(code != 0 && err.contains("no version 9"), "{err}");
    let (code, out, _) = run(&["status", "--server", &url]).await;
    assert!(code == 0 && out.contains("policies 1"), "{out}");
    let (code, _, err) = run(&["status", "--server", "http://127.0.0.1:1"]).await;
    assert!(code != 0 && err.contains("does not answer: http://127.0.0.1:1: "), "{err}");
    server.stop().await;
}

#[tokio::test]
async fn the_first_token_is_made_on_the_store() {
    let (file, _directory) = sqlite_file();
    let url = file.url.as_ref().unwrap().expose().to_owned();
    let server = Server::over(&file, config(), Clock::System).await;
    let (code, out, err) = run(&["token", "create", "--store", &url, "--name", "ci", "--scope", "read,write"]).await;
    assert!(code == 0 && err.contains("not shown again"), "{err}");
    let token = out.trim();
    // The running server notices.
    let asked = async |token: Option<&str>| {
        let request = server.http.get(server.url("/v1/services"));
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        request.send().await.unwrap().status().as_u16()
    };
    while asked(None).await != 401 {}
    assert_eq!(asked(Some(token)).await, 200);
    let (_, out, _) = run(&["token", "list", "--store", &url]).await;
    assert!(out.contains("ci") && out.contains("read,write") && out.contains("in use"), "{out}");
    assert!(!out.contains(&token[17..]), "{out}");
    let id = &token[4..16];
    let (code, out, _) = run(&["token", "revoke", "--store", &url, id]).await;
    assert_eq!((code, out), (0, format!("token {id} revoked\n")));
    while asked(Some(token)).await != 401 {}
    for (arguments, part) in [
        (&["token", "revoke", "--store", &url, "nobody"][..], "there is no token"),
        (&["token", "create", "--store", &url, "--name", "x", "--scope", "all"], "is no scope"),
        (&["token", "list", "--store", "mysql://h/d"], "store.url must begin with"),
    ] {
        let (code, _, err) = run(arguments).await;
        assert!(code != 0 && err.contains(part), "{err}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_container_without_a_shell_asks_for_its_health() {
    let server = Server::over(&super::store::at("sqlite::memory:"), config(), Clock::System).await;
    let (status, out, error) = run(&["health", "--url", &server.url("/health/ready")]).await;
    assert_eq!((status, out.as_str(), error.as_str()), (0, "", ""));
    let (status, _, error) = run(&["health", "--url", &server.url("/v1/nothing")]).await;
    assert!(status == 1 && error.contains("answers 404"), "{status} {error}");
    let url = server.url("/health/ready");
    server.stop().await;
    let (status, _, error) = run(&["health", "--url", &url]).await;
    assert!(status == 1 && error.contains("does not answer"), "{status} {error}");
}
