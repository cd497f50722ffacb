//! Tokens, replicas, leadership.

use lipservice::control_plane::store::{Fault, NewToken, Replica, Scope, Store, Timestamp, digest_of};

use super::{actor, at, minutes, on_each, sqlite_file};
use crate::support::servers;
use lipservice::clock::Clock;

fn token(name: &str, scopes: &[Scope]) -> NewToken {
    NewToken { name: name.into(), scopes: scopes.to_vec(), expires_at: None }
}

#[tokio::test]
async fn tokens_are_hashed_listed_and_revoked() {
    on_each(|store, _| async move {
        let scopes = [Scope::Write, Scope::Read, Scope::Write];
        let (text, made) = store.create_token(&token("ci", &scopes), [7; 38], &actor()).await.unwrap();
        assert!(text.starts_with("lip_070707070707_") && text.len() == 60, "{text}");
        let listed = store.tokens().await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&made));
        assert_eq!((&made.digest, &made.scopes[..]), (&digest_of(&text), &[Scope::Read, Scope::Write][..]));
        let shown = serde_json::to_string(&(&listed, store.audit_log(None, 9).await.unwrap())).unwrap();
        assert!(!shown.contains(&text[17..]) && !shown.contains(&made.digest), "{shown}");
        assert_eq!(store.revisions().await.unwrap().tokens, 1);
        assert!(store.revoke_token(&made.id, &actor()).await.unwrap());
        assert!(!store.revoke_token(&made.id, &actor()).await.unwrap());
        assert_eq!(store.tokens().await.unwrap()[0].revoked_at, Some(store.now()));
        assert_eq!(store.revoke_token("nobody", &actor()).await.unwrap_err().fault(), Fault::NotFound);
        let actions: Vec<_> = store.audit_log(None, 9).await.unwrap().into_iter().map(|entry| entry.action).collect();
        assert_eq!(actions, ["token.revoke", "token.create"]);
    })
    .await;
}

#[tokio::test]
async fn replicas_are_known_by_their_last_report() {
    on_each(|store, clock| async move {
        let replica = |id: &str, hash: &str| Replica {
            id: id.into(),
            kind: "gateway".into(),
            version: "0.1.0".into(),
            policy_hash: hash.into(),
            last_seen: Timestamp::default(),
            report_seconds: 0,
        };
        store.ingest(&[], &[replica("a", "h1")]).await.unwrap();
        clock.advance(minutes(1));
        store.ingest(&[], &[replica("b", "h1")]).await.unwrap();
        clock.advance(minutes(1));
        store.ingest(&[], &[replica("b", "h2")]).await.unwrap();
        let found = |replicas: Vec<Replica>| {
            replicas.into_iter().map(|replica| (replica.id, replica.policy_hash)).collect::<Vec<_>>()
        };
        let (a, b) = (("a".to_owned(), "h1".to_owned()), ("b".to_owned(), "h2".to_owned()));
        assert_eq!(found(store.replicas(minutes(5)).await.unwrap()), [b.clone(), a]);
        assert_eq!(found(store.replicas(minutes(1)).await.unwrap()), [b]);
    })
    .await;
}

#[tokio::test]
async fn one_leads() {
    let (file, _directory) = sqlite_file();
    for config in [Some(file), servers::shared_database().await.map(at)].into_iter().flatten() {
        let open = || Store::open(&config, Clock::System);
        let (one, two) = (open().await.unwrap(), open().await.unwrap());
        let mut leader = one.try_lead().await.unwrap().unwrap();
        assert!(leader.is_held().await);
        assert!(two.try_lead().await.unwrap().is_none(), "two leaders");
        leader.release().await;
        let mut successor = two.try_lead().await.unwrap();
        while successor.is_none() {
            // PostgreSQL frees the lock when the session has ended, a moment after it was closed.
            successor = two.try_lead().await.unwrap();
        }
        assert!(one.try_lead().await.unwrap().is_none(), "two leaders");
    }
}
