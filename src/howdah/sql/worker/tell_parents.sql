create or replace function howdah.tell_parents(news jsonb) returns void
language sql
as $$
  select howdah.deliver(jsonb_agg(jsonb_build_object(
    'to', x -> 'parent', 'sender', x -> 'id', 'type', 'eof', 'fresh', not (x -> 'told')::boolean,
    'body', jsonb_build_object('status', x -> 'status', 'result', x -> 'result', 'error', x -> 'error'))))
    from jsonb_array_elements(tell_parents.news) x
$$;
comment on function howdah.tell_parents(jsonb) is
  'Tell parents how their children ended, or that one is parked: a JSON array of {id, parent, told (before), status, result, error}.';
