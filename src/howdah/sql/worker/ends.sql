create or replace function howdah.ends(news jsonb) returns jsonb
language plpgsql stable
as $$
begin
  if ends.news is null then
    return '[]';
  end if;
  return (select coalesce(jsonb_agg(jsonb_build_object(
    'to', x -> 'parent', 'sender', x -> 'id', 'type', 'eof', 'fresh', not (x -> 'told')::boolean,
    'body', jsonb_build_object('status', x -> 'status', 'result', x -> 'result', 'error', x -> 'error'))), '[]')
    from jsonb_array_elements(ends.news) x);
end
$$;
comment on function howdah.ends(jsonb) is
  'Letters that tell parents how their children ended, or that one is parked: from a JSON array of {id, parent, told (before), status, result, error}.';
